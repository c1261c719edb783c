# frozen_string_literal: true

# From what a handler gave to what goes up. What the processor would refuse is refused here, with a
# sentence for the author.

module Nuclio
  # An answer with all that it can say; an array as a header's value repeats the header.
  class Response
    attr_accessor :body, :status, :headers, :content_type

    def initialize(body: nil, status: 200, headers: {}, content_type: nil)
      @body = body
      @status = status
      @headers = headers
      @content_type = content_type
    end
  end

  # Another attempt, after so many seconds. Returned or raised.
  class Retry < StandardError
    attr_reader :after

    def initialize(after)
      @after = Float(after)
      super("try again in #{@after.ceil} s")
    end
  end

  # Never again. Returned or raised.
  class Reject < StandardError; end

  # What goes up.
  Answer = Struct.new(:status, :outcome, :type, :headers, :body, :retry_ns, :pieces) do
    def self.of(result)
      case result
      when Response then of_response(result)
      when Retry then of_retry(result)
      when Reject then text(422, :reject, result.message)
      when Array then of_array(result)
      else
        type, body, pieces = content(result)
        new(200, :ok, type, [], body, 0, pieces)
      end
    end

    def self.text(status, outcome, text)
      new(status, outcome, Door::TYPES['text/plain'], [], text.dup.force_encoding(Encoding::BINARY), 0, nil)
    end

    # `[status, body]`; any other array is JSON.
    def self.of_array(result)
      status, value = result
      if result.size == 2 && status.is_a?(Integer) && (200..599).cover?(status)
        return of(value).tap { |answer| answer.status = status }
      end

      new(200, :ok, Door::TYPES['application/json'], [], JSON.generate(result), 0, nil)
    end

    def self.of_retry(result)
      answer = text(503, :retry, result.message)
      answer.headers << ['Retry-After', result.after.ceil.to_s]
      answer.retry_ns = (result.after * 1e9).to_i
      answer
    end

    def self.of_response(response)
      type, body, pieces = content(response.body)
      status = Integer(response.status)
      raise ArgumentError, "the status must be from 200 to 599, not #{status}" unless (200..599).cover?(status)

      answer = new(status, :ok, type, [], body, 0, pieces)
      answer.give_type(response.content_type) if response.content_type
      response.headers.each { |name, values| answer.give_header(name.to_s, values) }
      answer
    end

    # Content type, body, and pieces where there are some.
    def self.content(value)
      case value
      when nil then [Door::TYPES['text/plain'], String.new, nil]
      when String then [Door::TYPES['text/plain'], value, nil]
      when Hash, Array then [Door::TYPES['application/json'], JSON.generate(value), nil]
      when Enumerator, Enumerator::Lazy then [Door::TYPES['text/plain'], String.new, value]
      else [Door::TYPES['text/plain'], value.to_s, nil]
      end
    end

    def give_type(name)
      self.type = Door::TYPES.fetch(name, 0)
      headers << ['Content-Type', name] if type.zero?
    end

    def give_header(name, values)
      return give_type(values) if name.casecmp?('content-type')

      (values.is_a?(Array) ? values : [values]).each { |value| headers << [name, value.to_s] }
    end
  end
end
