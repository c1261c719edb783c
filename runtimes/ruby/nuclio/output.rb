# frozen_string_literal: true

# Logger, and standard output: lines become records of the event at hand. Nothing here waits: what
# the log has no room for is dropped there and counted.

require 'stringio'

module Nuclio
  LEVELS = { debug: 0, info: 1, warn: 2, error: 3 }.freeze
  ORIGINS = { logger: 0, stdout: 1, stderr: 2, traceback: 3 }.freeze

  # Writes records of the event at hand.
  class Log
    # The event that the thread of the handler works on; threads that it starts inherit nothing.
    attr_accessor :claim, :wanted

    def initialize(connection, level)
      @connection = connection
      @level = level
      @claim = 0
      @wanted = 255
    end

    def write(level, origin, message, fields = '')
      number = LEVELS.fetch(level)
      return if number < [@level, @wanted].min

      @connection.log(number, ORIGINS.fetch(origin), @claim, message.to_s, fields)
    end
  end

  # `info`, `warn` and so on, each also with fields: `info_with('done', took: 3)`.
  class Logger
    def initialize(log)
      @log = log
    end

    LEVELS.each_key do |level|
      define_method(level) { |message| @log.write(level, :logger, message) }
      define_method("#{level}_with") do |message, **fields|
        @log.write(level, :logger, message, JSON.generate(fields))
      end
    end
  end

  # `$stdout` and `$stderr`.
  class Output < StringIO
    LINE_BYTES_MAX = 16 * 1024 - 256

    def initialize(log, origin)
      super()
      @log = log
      @origin = origin
      @part = String.new
    end

    def write(*parts)
      parts.each { |part| @part << part.to_s.b }
      while (line = @part.slice!(/\A.*?\n/m))
        record(line.chomp)
      end
      finish if @part.bytesize >= LINE_BYTES_MAX
      parts.sum { |part| part.to_s.bytesize }
    end

    # The unfinished line.
    def finish
      record(@part.slice!(0, LINE_BYTES_MAX)) until @part.empty?
    end

    def tty? = false
    alias isatty tty?

    private

    def record(line)
      @log.write(:info, @origin, line)
    end
  end
end
