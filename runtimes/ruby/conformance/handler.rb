# What the conformance kit asks of a handler; see runtimes/conformance/README.md.

KEPT = []

WAYS = {
  'headers' => lambda do |_context, event, _argument|
    seen = event.headers.get_all('X-In')
    Nuclio::Response.new(headers: { 'X-Seen' => seen, 'X-Out' => %w[a b], 'X-Empty' => '' })
  end,
  'status' => ->(_context, _event, argument) { [argument.to_i, nil] },
  'error' => ->(*) { raise ArgumentError, 'failed on purpose' },
  'log' => ->(context, *) { context.logger.info('logged by the handler') && nil },
  'logs' => lambda do |context, _event, argument|
    argument.to_i.times do |number|
      context.logger.info_with('one of many records, each as long as this', number: number)
    end
    nil
  end,
  'print' => ->(*) { puts 'printed by the handler' },
  'size' => ->(_context, _event, argument) { 'x' * argument.to_i },
  'stream' => lambda do |_context, _event, argument|
    (0...argument.to_i).lazy.map { |number| "piece #{number}\n" }
  end,
  'stream-broken' => lambda do |*|
    Enumerator.new do |pieces|
      pieces << "piece 0\n"
      raise ArgumentError, 'failed on purpose'
    end
  end,
  'sleep' => ->(_context, event, _argument) { sleep(0.2) && event.body },
  'keep' => ->(_context, event, _argument) { KEPT << event.body and nil },
  'kept' => ->(*) { KEPT.last },
  'forget' => ->(*) { KEPT.clear and nil }
}.freeze

def handler(context, event)
  if event.is_a?(Array)
    return event.map { |one| Nuclio::Response.new(body: one.body, headers: { 'X-Batch' => event.size }) }
  end

  word, argument = event.path.delete_prefix('/').split('/')
  WAYS.key?(word) ? WAYS[word].call(context, event, argument) : event.body
end
