# frozen_string_literal: true

# One event at a time; notes each execution, then does as the path says, as deeds.py does.

PID = Process.pid
NOTES = File.open(File.join(ENV.fetch('LEDGER_NOTES'), "#{PID}.notes"), 'ab', 0o600)

# One system call, so that a note is there or not there.
def note(id, attempt)
  now = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
  NOTES.syswrite([id, now, PID, attempt].pack('Q<Q<L<L<'))
end

def handler(_context, event)
  path = event.path
  id = path[1, 16].to_i(16)
  answer, deed, attempts = path[18, 3].chars
  deed = 'n' if event.attempt > 1 && attempts != '2'
  Process.kill(:KILL, PID) if deed == 'u'
  note(id, event.attempt)
  Process.kill(:KILL, PID) if deed == 'k'
  Process.kill(:STOP, PID) if deed == 's'
  sleep((1 + id % 5) / 1000.0) if deed == 'd'
  reply = answer == 'e' ? event.body : "#{path}\n".b + event.body
  Process.kill(:KILL, PID) if deed == 'l'
  answer == 'h' ? Nuclio::Response.new(body: reply, headers: { 'X-Ledger' => path }) : reply
end
