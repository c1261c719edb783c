-- wrk's script for every scenario: what to send, and one line of results for `compare` to read.
--
-- BODY_BYTES=0 sends GET; any other number POSTs that many bytes. The request never changes, so
-- wrk builds it once and runs no Lua under load.

local body_bytes = tonumber(os.getenv("BODY_BYTES") or "0")

if body_bytes > 0 then
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/octet-stream"
   wrk.body = string.rep("0123456789abcdef", math.ceil(body_bytes / 16)):sub(1, body_bytes)
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      "RESULT requests=%d duration_us=%d bytes=%d p50_us=%d p90_us=%d p99_us=%d max_us=%d " ..
      "connect_errors=%d read_errors=%d write_errors=%d status_errors=%d timeouts=%d\n",
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50.0), latency:percentile(90.0), latency:percentile(99.0), latency.max,
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
