# frozen_string_literal: true

# What a handler is given: an event, its headers and its trigger. Copies: they may be kept.

module Nuclio
  Trigger = Struct.new(:kind, :name)

  # Header lines by name in any case: the first value, or all of them.
  class Headers
    include Enumerable

    def initialize(lines)
      @lines = lines
    end

    def [](name)
      get_all(name).first
    end

    def get_all(name)
      @lines.filter_map { |own, value| value if own.casecmp?(name) }
    end

    def key?(name)
      @lines.any? { |own, _| own.casecmp?(name) }
    end

    def each(&block)
      @lines.each(&block)
    end

    def to_h
      each_with_object({}) { |(name, value), all| all[name] ||= value }
    end
  end

  # One event. Fields are read when they are asked for; all of them once it has been answered.
  class Event
    TEXTS = %i[id path content_type key topic traceparent].freeze

    def initialize(connection, place, trigger)
      @connection = connection
      @place = place
      @trigger = trigger
      @claim, @deadline_ns, @timestamp_ns, @offset, @size, @partition, @shard_id, @header_count,
        @attempt, = connection.numbers(place)
      # Copied now: the slot is given back with the answer.
      @body = connection.body(place)
      @headers = Headers.new(connection.headers(place, @header_count).map { |pair| pair.map { |text| readable(text) } })
      @texts = TEXTS.to_h { |field| [field, readable(connection.text(place, field))] }
      @method = readable(connection.text(place, :method))
      @query = readable(connection.text(place, :query))
    end

    attr_reader :claim, :place, :trigger, :body, :headers, :method, :query, :offset, :size,
                :partition, :shard_id, :attempt

    TEXTS.each { |field| define_method(field) { @texts[field] } }

    # The query, decoded; of a repeated name the last value.
    def fields
      @fields ||= URI.decode_www_form(@query).to_h
    rescue ArgumentError
      @fields = {}
    end

    def url
      @query.empty? ? path : "#{path}?#{@query}"
    end

    # Arrival.
    def timestamp
      Time.at(0, @timestamp_ns, :nanosecond, in: 'UTC')
    end

    # Seconds until the answer is due; nil without a limit.
    def time_left
      return nil if @deadline_ns.zero?

      [(@deadline_ns - Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)) / 1e9, 0.0].max
    end

    # Nobody waits for the answer any more.
    def cancelled?
      @connection.cancelled?(@claim)
    end

    # The body as an object.
    def json
      JSON.parse(@body)
    end

    private

    # UTF-8, and where it is not, each byte as its Latin-1 character.
    def readable(bytes)
      text = bytes.dup.force_encoding(Encoding::UTF_8)
      text.valid_encoding? ? text : bytes.force_encoding(Encoding::ISO_8859_1).encode(Encoding::UTF_8)
    end
  end
end
