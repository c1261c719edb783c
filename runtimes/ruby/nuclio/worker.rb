# frozen_string_literal: true

# The way of an event: taken, handled, answered. One at a time, on the main thread.

require 'json'
require 'uri'
require_relative 'door'
require_relative 'event'
require_relative 'answer'
require_relative 'output'
require_relative 'load'

module Nuclio
  # What a handler is given first; lives as long as the worker.
  class Context
    attr_reader :logger, :worker_id, :function_name, :function_version, :namespace
    # What should live as long as the worker; set it in init_context.
    attr_accessor :user_data
    attr_accessor :trigger

    def initialize(connection, logger, trigger)
      @logger = logger
      @trigger = trigger
      @worker_id = connection.offer('worker_id').to_i
      @function_name, @function_version, @namespace =
        %w[function version namespace].map { |name| connection.offer(name) }
      @user_data = {}
    end

    # The arguments of Nuclio::Response.
    def response(...) = Response.new(...)
    def retry(after:) = Retry.new(after)
    def reject(reason) = Reject.new(reason)
  end

  # See the file.
  class Worker
    NO_DETAIL = 'the function failed'

    def self.main(top)
      connection = Door::Connection.new(RUBY_VERSION)
      new(connection, top).serve
      exit! 0
    rescue Door::Gone
      exit! 1
    rescue Exception => e # rubocop:disable Lint/RescueException
      # Whatever it is, the worker cannot go on; the processor starts another.
      STDERR.puts "nuclio ruby worker: #{e.full_message(highlight: false)}"
      exit! 1
    end

    def initialize(connection, top)
      @connection = connection
      @top = top
      ENV.delete('NUCLIO_WORKER_FD')
      @log = Log.new(connection, connection.offer('log_level').to_i)
      @outputs = [Output.new(@log, :stdout), Output.new(@log, :stderr)]
      $stdout, $stderr = @outputs
      @detail = connection.offer('settings.errorDetail') || 'message'
      @triggers = Hash.new { |all, number| all[number] = trigger(number) }
      @context = Context.new(connection, Logger.new(@log), @triggers[0])
      @batch = []
    end

    def trigger(number)
      Trigger.new(@connection.offer("trigger.#{number}.kind"), @connection.offer("trigger.#{number}.name"))
    end

    def serve
      return wait_for_end unless load

      @connection.ready(1)
      loop do
        down = @connection.poll
        next @connection.rest if down.nil?

        case down.kind
        when Door::EVENT then take(down)
        when Door::DRAIN then @connection.drained(down.trigger)
        when Door::STOP then return
        end
      end
    end

    private

    # True if there is a handler; else the processor is told why not.
    def load
      path, handler = %w[code_path handler].map { |name| @connection.offer(name) }
      @handler = Load.handler(@top, path, handler)
      # The method that runs before the first event, if the code has one.
      @top.send(:init_context, @context) if @top.respond_to?(:init_context, true)
      true
    rescue Unusable => e
      @connection.init_failed(true, e.message)
      false
    rescue Exception => e # rubocop:disable Lint/RescueException
      @connection.init_failed(false, "#{path}: #{last_line(e)}\n#{trace(e)}")
      false
    ensure
      @outputs.each(&:finish)
    end

    def wait_for_end
      loop do
        down = @connection.poll
        return if down&.kind == Door::STOP

        @connection.rest if down.nil?
      end
    end

    def take(down)
      event = Event.new(@connection, down.event, @triggers[down.trigger])
      return handle([event], event) if down.batch.zero?

      @batch << event
      return unless down.more.zero?

      batch, @batch = @batch, []
      handle(batch, batch)
    end

    # Runs the handler once and answers every event.
    def handle(events, argument)
      @log.claim = events.first.claim
      @context.trigger = events.first.trigger
      results = results_of(events, argument)
      @outputs.each(&:finish)
      events.zip(results) { |event, result| answer(event, result) }
      @log.claim = 0
    end

    def results_of(events, argument)
      result = @handler.call(@context, argument)
      return [result] unless argument.is_a?(Array)
      return result if result.is_a?(Array) && result.size == events.size

      raise ArgumentError, "the handler of a batch of #{events.size} events must return an array of as many answers"
    rescue Exception => e # rubocop:disable Lint/RescueException
      [e] * events.size
    end

    def answer(event, result)
      return fail_event(event, result) if result.is_a?(Exception) && !result.is_a?(Retry) && !result.is_a?(Reject)

      answer = Answer.of(result)
      return @connection.reply(event.place, answer) if answer.pieces.nil?

      stream(event, answer)
    rescue Door::Broken
      raise
    rescue StandardError => e
      fail_event(event, e)
    end

    def fail_event(event, error)
      @log.claim = event.claim
      @log.write(:error, :traceback, trace(error))
      told = { 'none' => NO_DETAIL, 'traceback' => trace(error) }.fetch(@detail, last_line(error))
      @connection.reply(event.place, Answer.text(500, :error, told))
    end

    # The first piece is asked for before the head goes up, so that a stream that fails at once is a
    # 500.
    def stream(event, answer)
      claim = event.claim
      pieces = answer.pieces.each_entry
      begun = false
      loop do
        piece = pieces.next.to_s
        @connection.stream_begin(event.place, answer) unless begun
        begun = true
        return @connection.stream_end(claim, true) unless @connection.stream_piece(claim, piece)
      end
      @connection.stream_begin(event.place, answer) unless begun
      begun = true
      @connection.stream_end(claim, false)
    rescue Door::Broken
      raise
    rescue StandardError => e
      raise unless begun

      @log.write(:error, :traceback, trace(e))
      @connection.stream_end(claim, true)
    ensure
      @outputs.each(&:finish)
    end

    def last_line(error)
      return 'SystemExit: exit was called' if error.is_a?(SystemExit)

      "#{error.class}: #{error.message.lines.first&.chomp}"
    end

    def trace(error)
      error.full_message(highlight: false, order: :top).scrub
    end
  end
end
