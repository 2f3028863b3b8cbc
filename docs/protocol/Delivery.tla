------------------------------ MODULE Delivery ------------------------------
(***************************************************************************)
(* How a record of one partition goes from Kafka through the ledger and    *)
(* Celery and back. Numbers in brackets are the rules of README.md, which  *)
(* also says what implements each action. Every action is one atomic step  *)
(* of one process, of Kafka, or of one script in Redis; whatever happens   *)
(* between two steps is therefore some interleaving of actions.            *)
(*                                                                         *)
(* There is no time. A lease may run out as soon as nobody renews it; a    *)
(* process that stands still does so for as long as TLC likes.             *)
(***************************************************************************)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS
  Ingesters, Workers,  \* names of processes; one that dies is started again under its name
  Events,              \* how many records the partition has
  Lanes,               \* 0: unordered; n: offsets that are equal modulo n are one lane
  ExactlyOnce,         \* outputs and offsets in one transaction
  MaxDemand,           \* claims that an ingester may hold
  MaxListed,           \* unfinished offsets that fit into a commit's metadata
  MaxAttempts,         \* deaths after which an event has failed
  MostInTask,          \* events in one task: 1 or 2
  Poison,              \* offsets whose handler kills its worker, always
  Refusable,           \* offsets whose output Kafka refuses for good
  Silent,              \* offsets whose handler asks for nothing
  Faults, MostFaults,  \* which faults may happen, and how many of them in one behaviour
  Off,                 \* rules switched off
  None

VARIABLES
  kafka,    \* the group and its commit: [life, gen, since, owner, inc, done]
  sent,     \* per ingester: a commit on its way to the broker
  txn,      \* per ingester: a transaction whose offsets the broker has accepted
  gone,     \* offsets that compaction or retention removed
  redis,    \* the ledger
  saved,    \* an earlier state of it, to which losing its tail goes back
  rewound,  \* losing its tail has taken it back to before the group's generation
  celery,   \* tasks on their way: [inc, tag, events], events a sequence of <<offset, d>>
  revoked,  \* ids of tasks that somebody revoked
  ing,      \* the ingesters' memory
  wrk,      \* the workers
  dead,     \* runs whose child died and whose worker's main process has yet to say so
  overdue,  \* runs that could not renew, because Redis was away for longer than a lease
  left,     \* faults that may still happen
  pub,      \* seen by us only: how often the outputs of each offset are visible; 1 where none are asked for
  spent,    \* offsets whose handler has run, so that no run may follow; see Excused
  begun,    \* the highest d of each offset that has begun since Redis last lost data
  deaths,   \* deaths of workers that ran this event alone
  everSent, \* only without rule 13: what was sent once
  bad       \* what went wrong

vars == <<kafka, sent, txn, gone, redis, saved, rewound, celery, revoked, ing, wrk, dead, overdue, left,
          pub, spent, begun, deaths, everSent, bad>>

broker == <<kafka, sent, txn, gone>>
ghosts == <<pub, spent, begun, deaths, everSent, bad>>
workers == <<wrk, dead, overdue>>
store == <<redis, saved, rewound>>
queue == <<celery, revoked, everSent>>

Rule(name) == name \notin Off
Offsets == 0 .. (Events - 1)
SameLane(a, b) == Lanes > 0 /\ a % Lanes = b % Lanes
Before(o) == {p \in Offsets : p < o /\ SameLane(p, o)}
Range(seq) == {seq[n] : n \in DOMAIN seq}
Blame(is, what) == bad' = IF is THEN bad \cup {what} ELSE bad
NoBlame == UNCHANGED bad

NoClaim == [d |-> 0, tag |-> 0, deaths |-> 0, failed |-> FALSE]
\* `tags` counts those given out. No script reads it: in the code they are random, and so never come twice.
EmptyLedger ==
  [inc |-> None, gen |-> 0, member |-> None, asked |-> None, tags |-> 0,
   claim |-> [o \in Offsets |-> NoClaim], lease |-> [o \in Offsets |-> None],
   out |-> {}, err |-> {}, mark |-> {},
   told |-> {}]  \* settled by their runs, and the owner has not heard of it

Memory(state, life, gen, phase, inc, fin) ==
  [state |-> state, life |-> life, gen |-> gen, phase |-> phase, inc |-> inc, tag |-> 0,
   asked |-> FALSE,  \* it has asked whether it may make the ledger anew,
   vouched |-> FALSE,  \* and Kafka has taken a commit from it since
   fin |-> fin,      \* finished: by the commit found, by a mark, or since
   pend |-> {},      \* read, claimed, not finished
   bare |-> {},      \* those of them whose record is gone
   adopted |-> {},   \* a predecessor's, not read again yet
   round |-> {},     \* outcomes taken, to be published
   done |-> {},      \* published, and the ledger not told yet
   acked |-> {}]     \* what an acknowledged commit covers, and the ledger not told yet

Idle(life) == [life |-> life, run |-> None, at |-> 0, stopped |-> FALSE, void |-> FALSE, gave |-> FALSE]

Init ==
  /\ kafka = [life |-> 0, gen |-> 0, since |-> 0, owner |-> None, inc |-> None, done |-> {}]
  /\ sent = [i \in Ingesters |-> None]
  /\ txn = [i \in Ingesters |-> None]
  /\ gone = {}
  /\ redis = EmptyLedger
  /\ saved = None
  /\ rewound = FALSE
  /\ celery = {}
  /\ revoked = {}
  /\ ing = [i \in Ingesters |-> Memory("up", 0, 0, "out", None, {})]
  /\ wrk = [w \in Workers |-> Idle(0)]
  /\ dead = {}
  /\ overdue = {}
  /\ left = MostFaults
  /\ pub = [o \in Offsets |-> 0]
  /\ spent = [o \in Offsets |-> FALSE]
  /\ begun = [o \in Offsets |-> 0]
  /\ deaths = [o \in Offsets |-> 0]
  /\ everSent = {}
  /\ bad = {}

-----------------------------------------------------------------------------
(* The ledger's vocabulary: what several scripts share (common.lua).        *)

Drop(l, offsets) ==
  [l EXCEPT !.claim = [o \in Offsets |-> IF o \in offsets THEN NoClaim ELSE @[o]],
            !.lease = [o \in Offsets |-> IF o \in offsets THEN None ELSE @[o]],
            !.out = @ \ offsets, !.err = @ \ offsets]

\* A run of these events ended without an outcome: the next dispatch has the next number.
Raise(l, offsets, counts, fails) ==
  [l EXCEPT !.claim = [o \in Offsets |->
                        IF o \in offsets
                        THEN [@[o] EXCEPT !.d = @ + 1, !.deaths = @ + counts, !.failed = @ \/ fails]
                        ELSE @[o]],
            !.lease = [o \in Offsets |-> IF o \in offsets THEN None ELSE @[o]]]

NewClaim(l, offset, tag) == [l EXCEPT !.claim[offset].d = 1, !.claim[offset].tag = tag]

\* [2] Is this caller still the owner? (fence.lua) The token is the group's generation, which Kafka hands out.
Fence(i) ==
  CASE redis.inc # ing[i].inc -> "LOST"
    [] redis.inc = ing[i].inc /\ ~Rule("2") -> IF redis.member = i THEN "OK" ELSE "FENCED"
    [] OTHER -> IF ing[i].gen < redis.gen \/ (ing[i].gen = redis.gen /\ redis.member # i) THEN "FENCED" ELSE "OK"

Up(i) == ing[i].state = "up"
Owns(i) == Up(i) /\ ing[i].phase = "owned"
Mine(i) == Owns(i) /\ Fence(i) = "OK"
\* A higher generation takes over with whichever script comes first.
Sealed(l, i) == [l EXCEPT !.gen = ing[i].gen, !.member = i]

\* [8] What a run gave back it does not run.
Upto(w) == IF wrk[w].gave /\ Rule("8 given") THEN wrk[w].at ELSE Len(wrk[w].run.events)
\* What a run still has to report, and whether it is being run by a process that could renew its lease.
Rest(w) == IF wrk[w].run = None THEN {}
           ELSE {wrk[w].run.events[n][1] : n \in wrk[w].at .. Upto(w)}
Runs(w) == wrk[w].run # None /\ ~wrk[w].stopped
Current(w) == wrk[w].run.events[wrk[w].at]
Vouched(run) == wrk[run.worker].run = run /\ ~wrk[run.worker].stopped
Alone(run) == Len(run.events) = 1
Counts(run) == IF Alone(run) \/ ~Rule("11") THEN 1 ELSE 0  \* [11]

(* G3: a handler runs again only because the worker of the run before died, stood still past its lease or asked  *)
(* for it, or because Redis lost data. Such a reason makes the offset free again, once; the run itself is void.  *)
Excused(offsets) == [o \in Offsets |-> spent[o] /\ o \notin offsets]

-----------------------------------------------------------------------------
(* The group: who owns the partition. Generations only grow while the group exists.                             *)

Member(i) == ing[i].life = kafka.life /\ ing[i].gen = kafka.gen

\* A rebalance. Nobody has to hear of it at once.
Rebalance(i) ==
  LET free == IF kafka.owner = None THEN TRUE ELSE ing[kafka.owner].state \in {"dead", "stopped"} IN
  /\ Up(i)
  /\ IF free THEN TRUE ELSE "rebalance" \in Faults /\ left > 0
  /\ left' = IF free THEN left ELSE left - 1
  /\ kafka' = [kafka EXCEPT !.gen = @ + 1, !.owner = i, !.since = IF kafka.owner = i THEN @ ELSE kafka.gen + 1]
  /\ UNCHANGED <<sent, txn, gone, store, queue, ing, workers, pub, spent, begun, deaths, bad>>

\* [3] The commit is read after the group's last transaction has ended one way or the other.
Settled == Rule("3 stable") => \A j \in Ingesters : txn[j] = None

\* Kept through the rebalance, or through several: nobody else had it meanwhile.
Kept(i) == kafka.owner = i /\ ing[i].life = kafka.life /\ ing[i].gen >= kafka.since /\ ing[i].phase # "out"

Hear(i) ==
  /\ Up(i)
  /\ ~Member(i)
  /\ kafka.gen > 0
  /\ CASE Kept(i) ->
            /\ ing' = [ing EXCEPT ![i].gen = kafka.gen]
       [] kafka.owner = i /\ ~Kept(i) ->
            /\ Settled
            /\ ing' = [ing EXCEPT ![i] = Memory("up", kafka.life, kafka.gen, "fetched", kafka.inc,
                                                 IF Rule("3") THEN kafka.done ELSE {})]
       [] kafka.owner # i /\ Rule("4") ->  \* [4] what was taken away is forgotten
            /\ ing' = [ing EXCEPT ![i] = Memory("up", kafka.life, kafka.gen, "out", None, {})]
       [] kafka.owner # i /\ ~Rule("4") ->
            /\ ing' = [ing EXCEPT ![i].gen = kafka.gen, ![i].life = kafka.life]
  /\ sent' = [sent EXCEPT ![i] = None]
  /\ UNCHANGED <<kafka, txn, gone, store, queue, workers, left, pub, spent, begun, deaths, bad>>

\* [2] What own refuses. Whose a ledger is that has another name, or none, Kafka says: it has taken our commit since we
\* asked, and nobody has asked after us, owned the ledger or emptied it.
Refused(i) ==
  LET late == ing[i].gen < redis.gen \/ (ing[i].gen = redis.gen /\ redis.member # i)
      another == redis.inc # ing[i].inc
      word == ing[i].vouched /\ (redis.asked = i \/ ~Rule("2 asked"))
  IN CASE ~Rule("2") -> FALSE
       [] Rule("2") /\ another -> /\ ~word
                                  /\ late \/ (Rule("2 vouched") /\ redis.inc # None) \/ (Rule("2 empty") /\ redis.inc = None)
       [] OTHER -> late /\ ~word

\* [2] A refused own leaves its question in the ledger.
Ask(i) ==
  /\ Up(i) /\ ing[i].phase = "fetched"
  /\ ing[i].inc = None \/ Refused(i)
  /\ ~ing[i].asked \/ ing[i].vouched
  /\ redis' = [redis EXCEPT !.asked = i]
  /\ ing' = [ing EXCEPT ![i].asked = TRUE, ![i].vouched = FALSE]
  /\ UNCHANGED <<broker, saved, rewound, queue, workers, left, ghosts>>

\* [1] A new history of offsets has a name, and Kafka has it before the ledger does. [2] The broker takes the commit of
\* what was found from the present generation alone, and so vouches for who sent it.
Vouch(i) ==
  /\ Up(i) /\ ing[i].phase = "fetched" /\ ing[i].asked /\ ~ing[i].vouched
  /\ Member(i) /\ kafka.owner = i
  /\ LET inc == IF ing[i].inc # None THEN ing[i].inc ELSE IF Rule("1") THEN kafka.life + 1 ELSE 1 IN
     /\ kafka' = [kafka EXCEPT !.inc = inc, !.done = ing[i].fin]
     /\ ing' = [ing EXCEPT ![i].inc = inc, ![i].vouched = TRUE]
  /\ Blame(~(kafka.done \subseteq ing[i].fin), "a commit went back")
  /\ UNCHANGED <<sent, txn, gone, store, queue, workers, left, pub, spent, begun, deaths>>

\* [3] Take the ledger over; what Kafka already holds as finished goes from it (own.lua).
Own(i) ==
  LET me == ing[i]
      tag == IF Lanes > 0 THEN redis.tags + 1 ELSE 0
      kept == IF redis.inc = me.inc THEN redis ELSE [EmptyLedger EXCEPT !.inc = me.inc]
      clean == IF Rule("3") THEN [Drop(kept, me.fin) EXCEPT !.mark = @ \ me.fin] ELSE kept
      mine == [Sealed(clean, i) EXCEPT !.tags = tag, !.asked = None, !.told = {}]
  IN
  /\ Up(i) /\ me.phase = "fetched" /\ me.inc # None
  /\ ~Refused(i)
  /\ redis' = mine
  /\ ing' = [ing EXCEPT ![i].phase = "owned", ![i].tag = tag, ![i].asked = FALSE, ![i].vouched = FALSE,
                        ![i].fin = @ \cup mine.mark,
                        ![i].adopted = {o \in Offsets : mine.claim[o].d > 0} \cup mine.out]
  /\ UNCHANGED <<broker, saved, rewound, queue, workers, left, pub, spent, begun, deaths, bad>>

\* Another has it: the partition is dropped until the group says otherwise.
FencedOut(i) ==
  /\ Owns(i) /\ Fence(i) = "FENCED"
  /\ ing' = [ing EXCEPT ![i] = Memory("up", ing[i].life, ing[i].gen, "out", None, {})]
  /\ UNCHANGED <<broker, store, queue, workers, left, ghosts>>

\* The ledger is gone, or of another history: what memory knows is committed, and all begins again from Kafka.
Rebuild(i) ==
  LET lands == Member(i) /\ kafka.owner = i IN
  /\ Owns(i) /\ Fence(i) = "LOST"
  /\ sent[i] = None /\ txn[i] = None
  /\ kafka' = IF lands THEN [kafka EXCEPT !.done = ing[i].fin] ELSE kafka
  /\ Blame(lands /\ ~(kafka.done \subseteq ing[i].fin), "a commit went back")
  /\ ing' = [ing EXCEPT ![i] = IF lands THEN Memory("up", ing[i].life, ing[i].gen, "fetched", kafka.inc, ing[i].fin)
                               \* Refused: no member any more, until it joins again.
                               ELSE Memory("up", ing[i].life, ing[i].gen, "out", None, {})]
  /\ UNCHANGED <<sent, txn, gone, store, queue, workers, left, pub, spent, begun, deaths>>

-----------------------------------------------------------------------------
(* Reading, claiming, sending.                                              *)

\* [19] An event's turn has come when the ones before it in its lane are settled in the ingester's memory.
SettledBefore(i, o) ==
  \A p \in Before(o) : p \in ing[i].fin \/ (~Rule("19") /\ p \in redis.out)

\* Records are read in order. [5] A predecessor's claims are read whatever max_demand says. [17] The metadata of
\* every commit that may follow fits.
MayRead(i, o) ==
  LET me == ing[i]
      known == me.fin \cup me.pend
      held == me.pend \cup me.adopted
      slots == Cardinality(held) < MaxDemand
      fits == Rule("17") => Cardinality(held) <= MaxListed
      ready == \A p \in Before(o) : p \in me.fin \/ (MostInTask > 1 /\ p \in me.pend) \/ (~Rule("19") /\ p \in redis.out)
  IN /\ o \notin known
     /\ me.done = {}  \* a turn of the loop tells the ledger what it settled before it claims
     /\ IF o \in me.adopted
        THEN Rule("5") \/ (slots /\ \A p \in 0 .. (o - 1) : p \in known)
        ELSE /\ slots /\ fits /\ ready
             /\ \A p \in 0 .. (o - 1) : p \in known \cup (IF Rule("5") THEN me.adopted ELSE {})

\* [7] claim.lua refuses what is claimed, has an outcome, or a mark. [19] A predecessor's claim has its adopter's tag
\* from then on: what the predecessor sent begins no more.
Claimed(i, o) ==
  CASE redis.claim[o].d > 0 -> [redis EXCEPT !.claim[o].tag = ing[i].tag]
    [] redis.claim[o].d = 0 /\ o \notin redis.out /\ o \notin redis.mark -> NewClaim(redis, o, ing[i].tag)
    [] OTHER -> redis

Claim(i, o) ==
  /\ Mine(i)
  /\ MayRead(i, o)
  /\ o \in gone => o \in ing[i].adopted
  /\ redis' = Sealed(Claimed(i, o), i)
  /\ ing' = [ing EXCEPT ![i].adopted = @ \ {o},
                        ![i].fin = IF o \in redis.mark THEN @ \cup {o} ELSE @,
                        ![i].pend = IF o \in redis.mark THEN @ ELSE @ \cup {o},
                        ![i].bare = IF o \in gone /\ o \notin redis.mark THEN @ \cup {o} ELSE @]
  /\ UNCHANGED <<broker, saved, rewound, queue, workers, left, pub, spent, begun, deaths, bad>>

\* A record that is gone before anybody claimed it does not exist.
PassGone(i, o) ==
  /\ Owns(i) /\ o \in gone
  /\ o \notin ing[i].fin \cup ing[i].pend \cup ing[i].adopted
  /\ ing' = [ing EXCEPT ![i].fin = @ \cup {o}]
  /\ UNCHANGED <<broker, store, queue, workers, left, ghosts>>

\* [8, 13] Hand events to Celery, the first time or again: whatever is claimed, not leased and not on its way. One
\* that ran before goes alone; [19] in lanes nothing is sent before its turn.
Send(i, offsets) ==
  LET task == [inc |-> ing[i].inc, tag |-> ing[i].tag,
               events |-> [n \in DOMAIN offsets |-> <<offsets[n], redis.claim[offsets[n]].d>>]]
      all == Range(offsets)
  IN
  /\ Mine(i) /\ ing[i].round = {}  \* a turn of the loop ends a round before it sends
  /\ all \subseteq ing[i].pend \ ing[i].bare
  /\ \A o \in all :
       /\ redis.claim[o].d > 0 /\ redis.lease[o] = None /\ redis.claim[o].tag = ing[i].tag
       /\ ~redis.claim[o].failed /\ redis.claim[o].deaths < MaxAttempts
       /\ Rule("13 again") \/ <<ing[i].inc, o, redis.claim[o].d>> \notin everSent
       /\ Len(offsets) > 1 => redis.claim[o].d = 1
  /\ \A n \in DOMAIN offsets : \A p \in Before(offsets[n]) :
       \/ SettledBefore(i, offsets[n])
       \/ ~Rule("19 send")
       \/ \E m \in 1 .. (n - 1) : offsets[m] = p
  \* A copy that is late is held for lost; by chance it is sent a second time in other company.
  /\ IF \A m \in celery : m.inc = ing[i].inc => Range(m.events) \cap Range(task.events) = {}
     THEN left' = left
     ELSE "task late" \in Faults /\ left > 0 /\ left' = left - 1
  /\ celery' = celery \cup {task}
  /\ redis' = Sealed(redis, i)
  /\ everSent' = IF Rule("13 again") THEN {} ELSE everSent \cup {<<ing[i].inc, e[1], e[2]>> : e \in Range(task.events)}
  /\ UNCHANGED <<broker, saved, rewound, revoked, ing, workers, pub, spent, begun, deaths, bad>>

\* The owner itself says what became of an event that no worker will report (conclude.lua).
Conclude(i, o) ==
  /\ Mine(i) /\ o \in ing[i].pend
  /\ redis.claim[o].d > 0 /\ redis.lease[o] = None /\ o \notin redis.mark
  /\ \/ redis.claim[o].deaths >= MaxAttempts  \* G5
     \/ redis.claim[o].failed                 \* [12]
     \/ o \in ing[i].bare /\ Rule("6")        \* [6]
  /\ redis' = Sealed([Drop(redis, {o}) EXCEPT !.out = @ \cup {o}, !.err = @ \cup {o}], i)
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, workers, left, ghosts>>

\* [18] The audit: what is outstanding and unknown to the ledger is claimed again, what is finished is dropped.
Reclaim(i, o) ==
  /\ Mine(i) /\ Rule("18")
  /\ o \in ing[i].pend /\ o \notin redis.out
  /\ redis.claim[o].d = 0 \/ redis.claim[o].tag # ing[i].tag
  /\ redis' = Sealed(Claimed(i, o), i)
  /\ ing' = IF o \in redis.mark THEN [ing EXCEPT ![i].fin = @ \cup {o}, ![i].pend = @ \ {o}, ![i].bare = @ \ {o}] ELSE ing
  /\ UNCHANGED <<broker, saved, rewound, queue, workers, left, ghosts>>

DropFinished(i, o) ==
  /\ Mine(i) /\ o \in ing[i].fin
  /\ (redis.claim[o].d > 0 /\ Rule("18 drop")) \/ (o \in redis.out /\ Rule("14"))
  /\ redis' = Sealed([Drop(redis, {o}) EXCEPT !.mark = @ \cup {o}], i)
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, workers, left, ghosts>>

\* [8] Only the owner removes a lease, and raises d with it. [10] After Redis was away no lease ends before its
\* holder had the time to renew it: a run that could renew is never taken for a dead one.
Expire(i, run) ==
  LET held == {o \in Offsets : redis.lease[o] = run}
      w == run.worker
      standing == wrk[w].run = run /\ wrk[w].stopped
  IN
  /\ Mine(i)
  /\ held # {}
  /\ ~Vouched(run) \/ (run \in overdue /\ ~Rule("10"))
  /\ redis' = Sealed(Raise(redis, held, Counts(run), FALSE), i)
  /\ spent' = IF standing /\ ~wrk[w].void THEN Excused(Rest(w)) ELSE spent
  /\ deaths' = IF standing /\ Alone(run) THEN [deaths EXCEPT ![run.events[1][1]] = @ + 1] ELSE deaths
  /\ wrk' = IF standing THEN [wrk EXCEPT ![w].void = TRUE] ELSE wrk
  /\ overdue' = overdue \ {run}
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, dead, left, pub, begun, bad>>

-----------------------------------------------------------------------------
(* The workers.                                                             *)

\* A handler starts: G3 for runs that count, and never for what Kafka holds as finished.
Starts(o, isVoid) ==
  /\ spent' = IF isVoid THEN spent ELSE [spent EXCEPT ![o] = TRUE]
  /\ Blame(spent[o] /\ ~isVoid, "a handler ran again for no reason")

\* [8] The claim's d is the task's, and nobody holds a lease; [19] the task is of whose claim it is (begin.lua).
Ok(task, e) ==
  /\ redis.inc = task.inc /\ redis.claim[e[1]].d = e[2]
  /\ redis.claim[e[1]].tag = task.tag \/ ~Rule("19 tag")
  /\ redis.lease[e[1]] = None \/ ~Rule("8 begin")
  /\ <<task.inc, e>> \notin revoked

\* [19] Of a lane of which it does not get all, the worker runs nothing, and gives back what it got.
Stops(task, e) == Rule("19 begin") /\ \E other \in Range(task.events) : SameLane(e[1], other[1]) /\ ~Ok(task, other)
Accepted(task) == LET runs(e) == Ok(task, e) /\ ~Stops(task, e) IN SelectSeq(task.events, runs)
GiveBack(l, task) == Raise(l, {e[1] : e \in {one \in Range(task.events) : Ok(task, one) /\ Stops(task, one)}}, 0, FALSE)

\* A copy of the task may stay on its way.
Begin(w, task) ==
  LET events == Accepted(task)
      run == [worker |-> w, life |-> wrk[w].life, inc |-> task.inc, events |-> events]
      mine == {events[n][1] : n \in DOMAIN events}
      twice == "task twice" \in Faults /\ left > 0
      old == task.inc # kafka.inc  \* of before the group was reset: not of this history
  IN
  /\ wrk[w].run = None /\ ~wrk[w].stopped
  /\ events # <<>>
  /\ \/ celery' = celery \ {task} /\ left' = left
     \/ celery' = celery /\ left' = left - 1 /\ twice
  /\ redis' = GiveBack([redis EXCEPT !.lease = [o \in Offsets |-> IF o \in mine THEN run ELSE @[o]]], task)
  /\ wrk' = [wrk EXCEPT ![w].run = run, ![w].at = 1, ![w].void = old]
  /\ begun' = [o \in Offsets |-> IF \E e \in Range(events) : e[1] = o /\ ~old THEN redis.claim[o].d ELSE begun[o]]
  /\ spent' = IF old THEN spent ELSE [spent EXCEPT ![events[1][1]] = TRUE]
  /\ bad' = bad \cup (IF ~old /\ spent[events[1][1]] THEN {"a handler ran again for no reason"} ELSE {})
                \cup (IF ~old /\ \E e \in Range(events) : e[2] <= begun[e[1]] THEN {"a dispatch ran twice"} ELSE {})
  /\ UNCHANGED <<broker, saved, rewound, revoked, everSent, ing, dead, overdue, pub, deaths>>

\* Whatever cannot begin is skipped.
Skip(task) ==
  /\ Accepted(task) = <<>>
  /\ celery' = celery \ {task}
  /\ redis' = GiveBack(redis, task)
  /\ UNCHANGED <<broker, saved, rewound, revoked, ing, workers, left, ghosts>>

NextEvent(w, isVoid) ==
  IF wrk[w].at < Upto(w)
  THEN /\ wrk' = [wrk EXCEPT ![w].at = @ + 1]
       /\ Starts(wrk[w].run.events[wrk[w].at + 1][1], isVoid)
  ELSE /\ wrk' = [wrk EXCEPT ![w] = Idle(wrk[w].life)]
       /\ UNCHANGED <<spent, bad>>

\* [8] A report counts when d is the claim's and the lease is the run's, or Redis lost it (finish.lua).
Taken(w) ==
  LET o == Current(w)[1] d == Current(w)[2] IN
  /\ redis.inc = wrk[w].run.inc
  /\ IF Rule("8 finish") THEN redis.claim[o].d = d /\ redis.lease[o] \in {None, wrk[w].run} ELSE redis.claim[o].d > 0

\* What asks for nothing is thereby settled. [7] A mark stays until an acknowledged commit covers it.
Finish(w) ==
  LET o == Current(w)[1]
      settles == o \in Silent
  IN
  /\ Runs(w) /\ o \notin Poison
  /\ redis' = CASE ~Taken(w) -> redis
                [] Taken(w) /\ ~settles -> [Drop(redis, {o}) EXCEPT !.out = @ \cup {o}]
                [] Taken(w) /\ settles -> [Drop(redis, {o}) EXCEPT !.mark = IF Rule("7") THEN @ \cup {o} ELSE @,
                                                                    !.told = @ \cup {o}]
  /\ pub' = IF Taken(w) /\ settles THEN [pub EXCEPT ![o] = 1] ELSE pub
  /\ NextEvent(w, wrk[w].void)
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, dead, overdue, left, begun, deaths>>

\* The handler asks to run again. In lanes the rest of the task is given back; else it goes on.
Retry(w) ==
  LET o == Current(w)[1]
      back == IF Lanes > 0 THEN Rest(w) ELSE {o}
      held == {p \in back : redis.inc = wrk[w].run.inc /\ redis.lease[p] = wrk[w].run}
  IN
  /\ "retry" \in Faults /\ left > 0 /\ left' = left - 1
  /\ Runs(w) /\ o \notin Poison
  /\ redis' = IF Taken(w) THEN Raise(redis, held \cup {o}, 0, FALSE) ELSE redis
  /\ IF Lanes > 0 \/ wrk[w].at = Upto(w)
     THEN /\ wrk' = [wrk EXCEPT ![w] = Idle(wrk[w].life)]
          /\ spent' = IF wrk[w].void THEN spent ELSE Excused({o})
          /\ NoBlame
     ELSE LET next == wrk[w].run.events[wrk[w].at + 1][1] IN
          /\ wrk' = [wrk EXCEPT ![w].at = @ + 1]
          /\ spent' = IF wrk[w].void THEN spent ELSE [Excused({o}) EXCEPT ![next] = TRUE]
          /\ Blame(~wrk[w].void /\ spent[next], "a handler ran again for no reason")
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, dead, overdue, pub, begun, deaths>>

\* The handler takes long. [8] What waits behind it is given back, for others to run, and is run here no more.
GivesBack(w) ==
  LET back == {wrk[w].run.events[n][1] : n \in (wrk[w].at + 1) .. Len(wrk[w].run.events)}
      held == {p \in back : redis.inc = wrk[w].run.inc /\ redis.lease[p] = wrk[w].run}
  IN
  /\ "slow" \in Faults /\ left > 0 /\ left' = left - 1
  /\ Runs(w) /\ Lanes = 0 /\ back # {} /\ ~wrk[w].gave
  /\ redis' = Raise(redis, held, 0, FALSE)
  /\ wrk' = [wrk EXCEPT ![w].gave = TRUE]
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, dead, overdue, ghosts>>

\* [9] A lease that Redis lost is put back, where nobody else holds one (renew.lua).
Renew(w) ==
  LET run == wrk[w].run
      mine == {o \in Offsets : \E n \in wrk[w].at .. Len(run.events) :
                 run.events[n] = <<o, redis.claim[o].d>> /\ redis.lease[o] = None /\ redis.inc = run.inc}
  IN
  /\ Runs(w)
  /\ (mine # {} /\ Rule("9")) \/ run \in overdue
  /\ redis' = IF Rule("9") THEN [redis EXCEPT !.lease = [o \in Offsets |-> IF o \in mine THEN run ELSE @[o]]] ELSE redis
  /\ overdue' = overdue \ {run}
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, wrk, dead, left, ghosts>>

\* A child dies in the middle of an event. Its main process may live to say so.
Dies(w) ==
  LET run == wrk[w].run IN
  /\ spent' = IF wrk[w].void THEN spent ELSE Excused(Rest(w))
  /\ deaths' = IF Alone(run) THEN [deaths EXCEPT ![run.events[1][1]] = @ + 1] ELSE deaths
  /\ wrk' = [wrk EXCEPT ![w] = Idle(wrk[w].life + 1)]
  /\ dead' = dead \cup {run} \/ dead' = dead
  /\ UNCHANGED <<broker, store, queue, ing, overdue, pub, begun, bad>>

Poisoned(w) == Runs(w) /\ Current(w)[1] \in Poison /\ Dies(w) /\ UNCHANGED left

\* [9] By the run id that the child held (release.lua).
Release(run) ==
  LET back == {o \in Offsets : \E e \in Range(run.events) :
                 /\ e = <<o, redis.claim[o].d>> /\ redis.inc = run.inc
                 /\ redis.lease[o] \in {None, run} \/ ~Rule("9 holder")}
  IN
  /\ run \in dead
  /\ dead' = dead \ {run}
  /\ redis' = Raise(redis, back, Counts(run), FALSE)
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, wrk, overdue, left, ghosts>>

-----------------------------------------------------------------------------
(* Settling: publish, then finish.                                          *)

Asks(o) == o \notin Silent \/ o \in redis.err
Fresh(i) == {o \in redis.out : Asks(o) /\ (Rule("14") => o \in ing[i].pend)}
Publishable(o) == o \notin Refusable \/ o \in redis.err \/ ~Rule("15")

\* [14] Outcomes are taken from the ledger (turn.lua), of positions that memory holds as read and unfinished: neither
\* Kafka nor a mark has them.
Take(i, offsets) ==
  /\ Mine(i) /\ ing[i].round = {} /\ ing[i].done = {} /\ txn[i] = None /\ sent[i] = None
  /\ offsets # {} /\ offsets \subseteq Fresh(i) /\ \A o \in offsets : Publishable(o)
  /\ redis' = Sealed(redis, i)
  /\ ing' = [ing EXCEPT ![i].round = offsets]
  \* (Where Redis has lost that there is a later owner, one that has not heard of it cannot know; only exactly_once
  \* then keeps what it publishes from being seen.)
  /\ Blame(offsets \cap kafka.done # {} /\ (Member(i) \/ ~rewound), "published what Kafka holds as finished")
  /\ UNCHANGED <<broker, saved, rewound, queue, workers, left, pub, spent, begun, deaths>>

\* What runs have settled themselves the owner hears of (turn.lua), or the answer is lost.
HearSettled(i, o) ==
  /\ Mine(i) /\ ing[i].round = {}
  /\ o \in redis.told
  /\ redis' = Sealed([redis EXCEPT !.told = @ \ {o}], i)
  /\ \/ /\ ing' = IF o \in ing[i].pend
                 THEN [ing EXCEPT ![i].fin = @ \cup {o}, ![i].pend = @ \ {o}, ![i].bare = @ \ {o}]
                 ELSE ing
        /\ left' = left
     \/ "answer lost" \in Faults /\ left > 0 /\ left' = left - 1 /\ UNCHANGED ing
  /\ UNCHANGED <<broker, saved, rewound, queue, workers, ghosts>>

\* [15] What Kafka refuses for good leaves its round and becomes its event's failure.
Isolate(i, o) ==
  /\ Mine(i) /\ Rule("15")
  /\ o \in Fresh(i) /\ ~Publishable(o) /\ o \in ing[i].pend
  /\ redis' = Sealed([redis EXCEPT !.err = @ \cup {o}], i)
  /\ UNCHANGED <<broker, saved, rewound, queue, ing, workers, left, ghosts>>

\* In memory a round is finished when Kafka has it, and not when the ledger was told: what is committed next holds it.
Finished(me) ==
  [me EXCEPT !.round = {}, !.done = me.round, !.fin = @ \cup me.round, !.pend = @ \ me.round, !.bare = @ \ me.round]

Accepts(i) == ing[i].round \cap Refusable \subseteq redis.err

\* at_least_once: no script, no fence. The ingester may have stood still since it took the outcomes.
Publish(i) ==
  /\ ~ExactlyOnce \/ ~Rule("16")
  /\ Up(i) /\ ing[i].round # {} /\ Accepts(i)
  /\ pub' = [o \in Offsets |-> IF o \in ing[i].round THEN pub[o] + 1 ELSE pub[o]]
  /\ ing' = [ing EXCEPT ![i] = Finished(ing[i])]
  /\ UNCHANGED <<broker, store, queue, workers, left, spent, begun, deaths, everSent, bad>>

\* [16] exactly_once: outputs and offsets in one transaction; the broker checks the generation when it is given the
\* offsets, and not again when the transaction ends.
SendOffsets(i) ==
  /\ ExactlyOnce /\ Rule("16")
  /\ Up(i) /\ ing[i].round # {} /\ txn[i] = None /\ Accepts(i)
  /\ IF Member(i)
     THEN /\ txn' = [txn EXCEPT ![i] = [done |-> ing[i].fin \cup ing[i].round, events |-> ing[i].round]]
          /\ UNCHANGED ing
     ELSE /\ ing' = [ing EXCEPT ![i].round = {}]
          /\ UNCHANGED txn
  /\ UNCHANGED <<kafka, sent, gone, store, queue, workers, left, ghosts>>

\* It ends, and the ingester hears of it, or not: it is dead, or the answer was lost.
EndTransaction(i) ==
  LET unknown == "answer lost" \in Faults /\ left > 0 /\ Up(i) /\ ing[i].round # {}
  IN
  /\ txn[i] # None
  /\ pub' = [o \in Offsets |-> IF o \in txn[i].events THEN pub[o] + 1 ELSE pub[o]]
  /\ kafka' = [kafka EXCEPT !.done = txn[i].done]
  /\ Blame(~(kafka.done \subseteq txn[i].done), "a commit went back")
  /\ txn' = [txn EXCEPT ![i] = None]
  /\ \/ ing' = [ing EXCEPT ![i] = IF ing[i].state = "dead" \/ ing[i].round = {} THEN ing[i] ELSE Finished(ing[i])] /\ left' = left
     \/ /\ unknown /\ left' = left - 1
        \* The result is unknown: Kafka is asked again.
        /\ IF Rule("16 unknown")
           THEN ing' = [ing EXCEPT ![i] = Memory("up", ing[i].life, ing[i].gen, "fetched", kafka.inc, txn[i].done)]
           ELSE UNCHANGED ing
  /\ UNCHANGED <<sent, gone, store, queue, workers, spent, begun, deaths>>

\* Its time is over, or the next owner fences it.
AbortTransaction(i) ==
  /\ txn[i] # None
  /\ ~Up(i) \/ ~Member(i)
  /\ txn' = [txn EXCEPT ![i] = None]
  /\ ing' = [ing EXCEPT ![i].round = {}]
  /\ UNCHANGED <<kafka, sent, gone, store, queue, workers, left, ghosts>>

\* [7] The ledger is told: a mark stays until an acknowledged commit covers it (settle.lua).
Settle(i) ==
  LET done == ing[i].done IN
  /\ Mine(i) /\ done # {}
  /\ redis' = Sealed([Drop(redis, done) EXCEPT !.mark = IF Rule("7") THEN @ \cup done ELSE @], i)
  /\ ing' = [ing EXCEPT ![i].done = {}]
  /\ UNCHANGED <<broker, saved, rewound, queue, workers, left, ghosts>>

-----------------------------------------------------------------------------
(* Committing.                                                              *)

\* [4] One commit at a time.
Commit(i) ==
  /\ Owns(i) /\ sent[i] = None /\ txn[i] = None
  /\ ing[i].fin # kafka.done
  /\ sent' = [sent EXCEPT ![i] = [life |-> ing[i].life, gen |-> ing[i].gen, done |-> ing[i].fin]]
  /\ UNCHANGED <<kafka, txn, gone, store, queue, ing, workers, left, ghosts>>

\* It reaches the broker, which checks the generation and not who owns the partition. Its sender may be dead.
Land(i) ==
  LET current == sent[i].life = kafka.life /\ sent[i].gen = kafka.gen IN
  /\ sent[i] # None
  /\ sent' = [sent EXCEPT ![i] = None]
  /\ kafka' = IF current THEN [kafka EXCEPT !.done = sent[i].done] ELSE kafka
  /\ Blame(current /\ ~(kafka.done \subseteq sent[i].done), "a commit went back")
  /\ ing' = IF current /\ ing[i].phase = "owned" THEN [ing EXCEPT ![i].acked = sent[i].done] ELSE ing
  /\ UNCHANGED <<txn, gone, store, queue, workers, left, pub, spent, begun, deaths>>

\* [7] The marks that an acknowledged commit covers go (forget.lua).
Forget(i) ==
  /\ Mine(i) /\ ing[i].acked # {}
  /\ redis' = Sealed([redis EXCEPT !.mark = @ \ ing[i].acked], i)
  /\ ing' = [ing EXCEPT ![i].acked = {}]
  /\ UNCHANGED <<broker, saved, rewound, queue, workers, left, ghosts>>

-----------------------------------------------------------------------------
(* Faults.                                                                  *)

Fault(name) == name \in Faults /\ left > 0 /\ left' = left - 1

IngesterDies(i) ==
  /\ Fault("ingester dies") /\ ing[i].state # "dead"
  /\ ing' = [ing EXCEPT ![i] = Memory("dead", 0, 0, "out", None, {})]
  /\ UNCHANGED <<broker, store, queue, workers, ghosts>>

IngesterStarts(i) ==
  /\ ing[i].state = "dead"
  /\ ing' = [ing EXCEPT ![i].state = "up"]
  /\ kafka' = IF kafka.owner = i THEN [kafka EXCEPT !.owner = None] ELSE kafka
  /\ sent' = [sent EXCEPT ![i] = None]
  /\ UNCHANGED <<txn, gone, store, queue, workers, left, ghosts>>

IngesterStops(i) ==
  /\ Fault("ingester stops") /\ Up(i)
  /\ ing' = [ing EXCEPT ![i].state = "stopped"]
  /\ UNCHANGED <<broker, store, queue, workers, ghosts>>

IngesterWakes(i) ==
  /\ ing[i].state = "stopped"
  /\ ing' = [ing EXCEPT ![i].state = "up"]
  /\ UNCHANGED <<broker, store, queue, workers, left, ghosts>>

\* Its loop hangs while another thread keeps it in the group. [20] The watchdog ends such a process.
IngesterHangs(i) ==
  /\ Fault("ingester hangs") /\ Up(i)
  /\ ing' = [ing EXCEPT ![i].state = "hung"]
  /\ UNCHANGED <<broker, store, queue, workers, ghosts>>

HungIsEnded(i) ==
  /\ ing[i].state = "hung" /\ Rule("20")
  /\ ing' = [ing EXCEPT ![i] = Memory("dead", 0, 0, "out", None, {})]
  /\ UNCHANGED <<broker, store, queue, workers, left, ghosts>>

WorkerDies(w) == Fault("worker dies") /\ wrk[w].run # None /\ Dies(w)

WorkerStops(w) ==
  /\ Fault("worker stops") /\ Runs(w)
  /\ wrk' = [wrk EXCEPT ![w].stopped = TRUE]
  /\ UNCHANGED <<broker, store, queue, ing, dead, overdue, ghosts>>

WorkerWakes(w) ==
  /\ wrk[w].stopped
  /\ wrk' = [wrk EXCEPT ![w].stopped = FALSE]
  /\ UNCHANGED <<broker, store, queue, ing, dead, overdue, left, ghosts>>

TaskLost(task) ==
  /\ Fault("task lost")
  /\ celery' = celery \ {task}
  /\ UNCHANGED <<broker, store, revoked, ing, workers, ghosts>>

\* [12] Somebody revokes a task. Its worker says so, and the event fails; Celery never forgets the id.
TaskRevoked(task) ==
  LET back == {o \in Offsets : \E e \in Range(task.events) :
                 e = <<o, redis.claim[o].d>> /\ redis.inc = task.inc /\ redis.lease[o] = None}
  IN
  /\ Fault("task revoked")
  /\ celery' = celery \ {task}
  /\ revoked' = revoked \cup {<<task.inc, e>> : e \in Range(task.events)}
  /\ redis' = IF Rule("12") THEN Raise(redis, back, 0, TRUE) ELSE redis
  /\ UNCHANGED <<broker, saved, rewound, ing, workers, ghosts>>

\* For longer than a lease. [13] A worker that has something to report goes on trying.
RedisAway ==
  /\ Fault("redis away")
  /\ overdue' = {redis.lease[o] : o \in Offsets} \ {None}
  /\ wrk' = IF Rule("13") THEN wrk ELSE [w \in Workers |-> IF Runs(w) THEN Idle(wrk[w].life) ELSE wrk[w]]
  /\ UNCHANGED <<broker, store, queue, ing, dead, ghosts>>

\* Redis loses data: every run before that is void, what comes next may repeat it.
Loses(ledger) ==
  /\ redis' = [ledger EXCEPT !.tags = redis.tags]
  /\ spent' = [o \in Offsets |-> FALSE]
  /\ begun' = [o \in Offsets |-> 0]
  /\ wrk' = [w \in Workers |-> IF wrk[w].run = None THEN wrk[w] ELSE [wrk[w] EXCEPT !.void = TRUE]]
  \* A run that had ended may be held for one that died: its lease is back.
  /\ deaths' = [o \in Offsets |-> deaths[o] + 1]
  /\ UNCHANGED <<broker, queue, ing, dead, overdue, pub, bad>>

Saves ==
  /\ "tail lost" \in Faults /\ left > 0 /\ saved = None
  /\ saved' = redis
  /\ UNCHANGED <<broker, redis, rewound, queue, ing, workers, left, ghosts>>

TailLost ==
  /\ Fault("tail lost") /\ saved # None /\ Loses(saved)
  /\ saved' = None
  /\ rewound' = (rewound \/ saved.gen < kafka.gen)

Emptied == Fault("emptied") /\ Loses(EmptyLedger) /\ UNCHANGED <<saved, rewound>>

Compacted(o) ==
  /\ Fault("compacted")
  /\ o \notin kafka.done
  /\ gone' = gone \cup {o}
  /\ UNCHANGED <<kafka, sent, txn, store, queue, ing, workers, ghosts>>

\* The group is deleted and made again: generations start anew, and all is to be handled once more.
GroupReset ==
  /\ Fault("group reset")
  /\ \A i \in Ingesters : ~Up(i) /\ txn[i] = None
  /\ kafka' = [life |-> kafka.life + 1, gen |-> 0, since |-> 0, owner |-> None, inc |-> None, done |-> {}]
  /\ sent' = [i \in Ingesters |-> None]
  /\ pub' = [o \in Offsets |-> 0]
  /\ spent' = [o \in Offsets |-> FALSE]
  /\ begun' = [o \in Offsets |-> 0]
  /\ wrk' = [w \in Workers |-> IF wrk[w].run = None THEN wrk[w] ELSE [wrk[w] EXCEPT !.void = TRUE]]
  /\ UNCHANGED <<txn, gone, store, queue, ing, dead, overdue, deaths, bad>>

-----------------------------------------------------------------------------

Pairs == {<<a, b>> : a, b \in Offsets}
Tasks == {<<o>> : o \in Offsets} \cup
         (IF MostInTask < 2 THEN {} ELSE {p \in Pairs : p[1] < p[2] /\ (Lanes > 0 => SameLane(p[1], p[2]))})
\* at_least_once settles event by event here: a round that breaks off in the middle is then two rounds.
Rounds(i) == IF ExactlyOnce THEN {{o \in Fresh(i) : Publishable(o)}} ELSE {{o} : o \in redis.out}

IngesterStep ==
  \E i \in Ingesters :
    \/ Hear(i) \/ Ask(i) \/ Vouch(i) \/ Own(i) \/ FencedOut(i) \/ Rebuild(i)
    \/ \E o \in Offsets : Claim(i, o) \/ PassGone(i, o) \/ Conclude(i, o) \/ Isolate(i, o) \/ HearSettled(i, o)
                          \/ Reclaim(i, o) \/ DropFinished(i, o)
    \/ \E offsets \in Tasks : Send(i, offsets)
    \/ \E run \in {redis.lease[o] : o \in Offsets} \ {None} : Expire(i, run)
    \/ \E offsets \in Rounds(i) : Take(i, offsets)
    \/ Publish(i) \/ SendOffsets(i) \/ Settle(i)
    \/ Commit(i) \/ Forget(i)
    \/ IngesterStarts(i) \/ IngesterWakes(i) \/ HungIsEnded(i)

BrokerStep == \E i \in Ingesters : Rebalance(i) \/ EndTransaction(i) \/ AbortTransaction(i) \/ Land(i)

WorkerStep ==
  \/ \E w \in Workers :
       \/ \E task \in celery : Begin(w, task)
       \/ Finish(w) \/ Renew(w) \/ Poisoned(w) \/ WorkerWakes(w)
  \/ \E task \in celery : Skip(task)
  \/ \E run \in dead : Release(run)

FaultStep ==
  \/ \E i \in Ingesters : IngesterDies(i) \/ IngesterStops(i) \/ IngesterHangs(i)
  \/ \E w \in Workers : WorkerDies(w) \/ WorkerStops(w) \/ Retry(w) \/ GivesBack(w)
  \/ \E task \in celery : TaskLost(task) \/ TaskRevoked(task)
  \/ RedisAway \/ Saves \/ TailLost \/ Emptied \/ GroupReset
  \/ \E o \in Offsets : Compacted(o)

Step == IngesterStep \/ BrokerStep \/ WorkerStep
Next == Step \/ FaultStep

\* Faults end, for they are counted; whatever can go on, goes on; and who goes round in vain still hears of a rebalance.
Spec == Init /\ [][Next]_vars /\ WF_vars(Step) /\ WF_vars(BrokerStep) /\ \A i \in Ingesters : WF_vars(Hear(i))

-----------------------------------------------------------------------------
(* What must hold.                                                          *)

\* G2: commits never go back.
CommitsNeverGoBack == "a commit went back" \notin bad

\* G1, G2: what Kafka holds as finished has a terminal record: its outputs or its error event are published.
FinishedHasARecord == \A o \in kafka.done : pub[o] > 0 \/ o \in gone

OneState ==
  \A o \in Offsets :
    /\ Cardinality({s \in {"claim", "out", "mark"} : CASE s = "claim" -> redis.claim[o].d > 0
                                                       [] s = "out" -> o \in redis.out
                                                       [] OTHER -> o \in redis.mark}) <= 1
    /\ redis.lease[o] # None => redis.claim[o].d > 0

\* At most one run per incarnation, position and d, as long as Redis keeps its data.
OneRunPerDispatch == "a dispatch ran twice" \notin bad

\* G3
NoRunWithoutReason == "a handler ran again for no reason" \notin bad

\* [14]
NothingPublishedAgain == "published what Kafka holds as finished" \notin bad

\* G4: once each, or a fault for each repeat.
OutputsOnce == \A o \in Offsets : pub[o] <= IF ExactlyOnce THEN 1 ELSE 1 + (MostFaults - left)

\* G7: no two events of a lane run at a time, and none before the ones before it are settled; runs that a lost
\* lease or lost data made void are not ours to stop.
Counted(w) == wrk[w].run # None /\ ~wrk[w].void
LanesInOrder ==
  \A w \in Workers : Counted(w) =>
    /\ \A v \in Workers \ {w} : Counted(v) => ~SameLane(Current(w)[1], Current(v)[1])
    /\ \A p \in Before(Current(w)[1]) :
         pub[p] > 0 \/ p \in gone \/ \E n \in 1 .. (wrk[w].at - 1) : wrk[w].run.events[n][1] = p

\* G5: an event has as many deaths as it died alone.
DeathsCounted == \A o \in Offsets : redis.claim[o].deaths <= deaths[o]

\* G6, [17]
DemandKept == \A i \in Ingesters : Cardinality(ing[i].pend) <= MaxDemand
MetadataFits ==
  \A i \in Ingesters :
    Cardinality({o \in ing[i].pend \cup ing[i].adopted : \E p \in ing[i].fin : o < p}) <= MaxListed

\* Liveness: faults end, and everything is committed, and the ledger clean.
AllDone ==
  /\ kafka.done = Offsets
  /\ redis.out = {} /\ \A o \in Offsets : redis.claim[o].d = 0
Finishes == <>[]AllDone
\* The same as an invariant, where no behaviour can go round for ever: it never comes to rest too early.
NeverStuck == ENABLED Step \/ AllDone

Symmetry == Permutations(Ingesters) \cup Permutations(Workers)
=============================================================================
