-- What these outcomes asked for is in Kafka: finish them.
-- ARGV: generation, member, incarnation, spans
local no = refused(tonumber(ARGV[1]), ARGV[2], ARGV[3])
if no then return no end
settle((spread(4, 1)))
return 'OK'
