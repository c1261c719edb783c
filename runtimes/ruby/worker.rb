# frozen_string_literal: true

# Starts a Ruby worker: refuses what cannot serve with a sentence, then hands over.

# The processor shows the sentence on standard error and stops.
REFUSED = 78

# A worker has its own process group, but a terminal's Ctrl-C is for the processor alone.
trap('INT', 'IGNORE')

begin
  raise LoadError, "Ruby 3.0 or later is needed, this is #{RUBY_VERSION}" if RUBY_VERSION.to_f < 3.0

  require_relative 'nuclio/worker'
rescue LoadError, StandardError => e
  warn "the Ruby runtime cannot be loaded by #{RbConfig.ruby}: #{e.message}"
  exit! REFUSED
end
Nuclio::Worker.main(self)
