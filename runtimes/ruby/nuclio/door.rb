# frozen_string_literal: true

# The functions of nuclio.h, called by fiddle; the only file that knows what memory looks like.
#
# They keep the interpreter's lock, so a thread of the user's may log while another waits: nothing
# waits in here but a large reply.

require 'fiddle'

module Nuclio
  # See the file.
  module Door
    LIBRARY = Fiddle.dlopen(File.expand_path('../libnuclio.so', __dir__))
    VOIDP = Fiddle::TYPE_VOIDP
    INT = Fiddle::TYPE_INT
    U64 = -Fiddle::TYPE_LONG_LONG
    U32 = -Fiddle::TYPE_INT
    U8 = -Fiddle::TYPE_CHAR
    SIZE = Fiddle::TYPE_SIZE_T
    ABI_MAJOR = 1

    OK = 0
    NONE = 1
    GONE = -2
    EVENT, CANCEL, DRAIN, STOP = 1, 2, 3, 4
    FIELDS = { id: 1, method: 2, path: 3, query: 4, content_type: 5, key: 6, topic: 7,
               traceparent: 8 }.freeze
    OUTCOMES = { ok: 1, error: 2, retry: 3, reject: 4 }.freeze
    TYPES = { nil => 0, 'text/plain' => 1, 'application/json' => 2,
              'application/octet-stream' => 3, 'text/html' => 4 }.freeze
    # Layouts: nuclio_down, nuclio_numbers, nuclio_answer, nuclio_bytes.
    DOWN = ['LLQQLL', 32].freeze
    NUMBERS = ['Q5L4SCC', 64].freeze
    ANSWER = 'SCCCx3Q5'
    BYTES = 'QQ'
    BYTES_BYTES = 16

    # The connection cannot go on; the process must end.
    class Broken < StandardError; end
    # The processor is gone.
    class Gone < Broken; end

    def self.function(name, arguments, result = INT)
      Fiddle::Function.new(LIBRARY[name], arguments, result, need_gvl: true)
    end

    ABI_VERSION = function('nuclio_abi_version', [], U32)
    LAST_ERROR = function('nuclio_last_error', [], VOIDP)
    ATTACH = function('nuclio_attach', [VOIDP, VOIDP, VOIDP])
    OFFER = function('nuclio_offer', [VOIDP, VOIDP, VOIDP])
    READY = function('nuclio_ready', [VOIDP, U32])
    INIT_FAILED = function('nuclio_init_failed', [VOIDP, INT, VOIDP, SIZE])
    POLL = function('nuclio_poll', [VOIDP, VOIDP])
    ARM = function('nuclio_arm', [VOIDP])
    BELL = function('nuclio_bell', [VOIDP])
    TAKE_RING = function('nuclio_take_ring', [VOIDP])
    EVENT_NUMBERS = function('nuclio_event_numbers', [VOIDP, VOIDP])
    EVENT_TEXT = function('nuclio_event_text', [VOIDP, U32, VOIDP])
    EVENT_HEADER = function('nuclio_event_header', [VOIDP, U32, VOIDP, VOIDP])
    EVENT_BODY = function('nuclio_event_body', [VOIDP, VOIDP])
    REPLY = function('nuclio_reply', [VOIDP, VOIDP, VOIDP])
    STREAM_BEGIN = function('nuclio_stream_begin', [VOIDP, VOIDP, VOIDP])
    STREAM_PIECE = function('nuclio_stream_piece', [VOIDP, U64, VOIDP, VOIDP])
    STREAM_END = function('nuclio_stream_end', [VOIDP, U64, INT])
    TAKE_CONTROLS = function('nuclio_take_controls', [VOIDP])
    LOG = function('nuclio_log', [VOIDP, U8, U8, U64, VOIDP, VOIDP])
    IS_CANCELLED = function('nuclio_is_cancelled', [VOIDP, U64])
    DRAINED = function('nuclio_drained', [VOIDP, U32])

    Down = Struct.new(:kind, :trigger, :claim, :event, :batch, :more)

    # One connection to the processor; see the file.
    class Connection
      def initialize(version)
        theirs = ABI_VERSION.call >> 16
        raise Broken, "libnuclio has version #{theirs}, not #{ABI_MAJOR}" if theirs != ABI_MAJOR

        place = String.new("\0" * 8)
        code = ATTACH.call('ruby', version, place)
        raise Broken, Connection.last_error if code.negative?

        @worker = place.unpack1('Q')
        @down = String.new("\0" * DOWN[1])
        @numbers = String.new("\0" * NUMBERS[1])
        @one = String.new("\0" * BYTES_BYTES)
        @other = String.new("\0" * BYTES_BYTES)
      end

      def self.last_error
        LAST_ERROR.call.to_s
      end

      # A wrong argument is ours to tell; anything else ends the process.
      def checked(code)
        return code if code >= 0
        raise Gone, 'the processor is gone' if code == GONE
        raise ArgumentError, Connection.last_error if code == -1

        raise Broken, Connection.last_error
      end

      def offer(name)
        return nil if checked(OFFER.call(@worker, name, @one)) == NONE

        bytes(@one).force_encoding(Encoding::UTF_8)
      end

      def ready(concurrency)
        checked(READY.call(@worker, concurrency))
      end

      def init_failed(is_usage, text)
        checked(INIT_FAILED.call(@worker, is_usage ? 1 : 0, text, text.bytesize))
      end

      def poll
        return nil if checked(POLL.call(@worker, @down)) == NONE

        Down.new(*@down.unpack(DOWN[0]))
      end

      # Waits for the bell, unless something has come; other threads run meanwhile.
      def rest
        return if checked(ARM.call(@worker)) == NONE

        wait_for_ring
      end

      # --- an event

      def numbers(event)
        checked(EVENT_NUMBERS.call(event, @numbers))
        @numbers.unpack(NUMBERS[0])
      end

      def text(event, field)
        checked(EVENT_TEXT.call(event, FIELDS.fetch(field), @one))
        bytes(@one)
      end

      def headers(event, count)
        (0...count).map do |index|
          checked(EVENT_HEADER.call(event, index, @one, @other))
          [bytes(@one), bytes(@other)]
        end
      end

      def body(event)
        checked(EVENT_BODY.call(event, @one))
        bytes(@one)
      end

      # --- an answer

      def reply(event, answer)
        with_form(answer) { |form| checked(REPLY.call(@worker, event, form)) }
      end

      def stream_begin(event, answer)
        with_form(answer) do |form|
          wait_for_room while checked(STREAM_BEGIN.call(@worker, event, form)) == NONE
        end
      end

      # Sends all of a piece; false if the client has left.
      def stream_piece(claim, piece)
        sent = String.new("\0" * 8)
        at = 0
        while at < piece.bytesize
          return false if cancelled?(claim)

          rest = [Fiddle::Pointer[piece].to_i + at, piece.bytesize - at].pack(BYTES)
          if checked(STREAM_PIECE.call(@worker, claim, rest, sent)) == NONE
            wait_for_room
          else
            at += sent.unpack1('Q')
          end
        end
        true
      end

      def stream_end(claim, is_broken)
        checked(STREAM_END.call(@worker, claim, is_broken ? 1 : 0))
      end

      def log(level, origin, claim, message, fields)
        LOG.call(@worker, level, origin, claim, of(message), of(fields))
      end

      def cancelled?(claim)
        IS_CANCELLED.call(@worker, claim) == 1
      end

      def drained(trigger)
        checked(DRAINED.call(@worker, trigger))
      end

      private

      # Something may have come at once; else the bell rings when it does.
      def wait_for_room
        return if checked(TAKE_CONTROLS.call(@worker)) == OK

        wait_for_ring
      end

      def wait_for_ring
        @bell ||= IO.for_fd(checked(BELL.call(@worker)), 'rb', autoclose: false)
        IO.select([@bell])
        checked(TAKE_RING.call(@worker))
      end

      # A copy: the memory is another event's later.
      def bytes(place)
        data, length = place.unpack(BYTES)
        length.zero? ? String.new : Fiddle::Pointer.new(data)[0, length]
      end

      def of(text)
        [Fiddle::Pointer[text].to_i, text.bytesize].pack(BYTES)
      end

      # The memory of an answer, alive during the call.
      def with_form(answer)
        lines = answer.headers.map { |pair| pair.map { |text| of(text) }.join }.join
        yield [answer.status, OUTCOMES.fetch(answer.outcome), answer.type, 0,
               answer.headers.size, Fiddle::Pointer[lines].to_i,
               Fiddle::Pointer[answer.body].to_i, answer.body.bytesize,
               answer.retry_ns].pack(ANSWER)
      end
    end
  end
end
