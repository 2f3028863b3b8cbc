"""How fast it is, beside what else one could use. `make bench` makes the table of docs/performance.md.

contestants/   what is compared: one small file each; its __init__ lists them
handling       what every contestant's handler does: nothing, sleep, work, fail; it counts the events as it goes
traffic        the events, the same for all, and the topics that hold them
scene          one run's circumstances: services, topic, handler
processes      Celery workers and other processes, for the length of a run
watching       how a run is timed from outside: from the first event handled to the last
plan           which runs there are, in which order
results        the JSON file that every run goes into as it ends
targets        what is to be reached, and what was
table, plot    what is made of the results
__main__       `make bench`: joins these
scaling        `make bench-scaling`: this project alone, with more partitions, backlog, names, bytes, processes

costs, latency `python -m benchmarks.costs`: processor time per event; `…latency`: milliseconds from send to handler
"""
