# frozen_string_literal: true

# Finds the handler in the user's code; explains what is wrong with it.

module Nuclio
  # The code cannot be a function as it stands.
  class Unusable < StandardError; end

  # See the file.
  module Load
    DEFAULTS = %w[handler main].freeze

    # The file and the name that were configured: NAME or FILE:NAME.
    def self.file_of(code_path, handler)
      return code_path unless File.directory?(code_path)

      file, _, name = handler.rpartition(':')
      candidates = file.empty? ? [name, 'handler', 'main', 'function'] : [file]
      paths = candidates.flat_map { |one| [one, "#{one}.rb"] }.map { |one| File.join(code_path, one) }
      sources = Dir.glob(File.join(code_path, '*.rb'))
      paths.find { |path| File.file?(path) } || (sources.size == 1 && sources.first) ||
        raise(Unusable, "#{code_path} has several files; name one with --handler FILE:METHOD")
    end

    # The method that handles events, of the top-level object.
    def self.handler(top, code_path, handler)
      file = file_of(code_path, handler)
      use_bundle(File.dirname(file))
      before = Object.private_instance_methods(false)
      load_file(file)
      made = Object.private_instance_methods(false) - before
      name = handler.rpartition(':').last
      chosen = name.empty? || file.end_with?("/#{name}.rb") ? nil : name.to_sym
      top.method(chosen || default(made, file))
    rescue NameError => e
      raise unless e.is_a?(NoMethodError) || e.receiver.equal?(top)

      raise Unusable, "#{file} has no method #{e.name}; there are: #{made.sort.join(', ')}"
    end

    def self.default(made, file)
      named = DEFAULTS.map(&:to_sym).find { |name| made.include?(name) }
      fitting = made.select { |name| Object.instance_method(name).arity.abs == 2 }
      named || (fitting.size == 1 && fitting.first) || raise(
        Unusable, "#{file} has no handler; write `def handler(context, event)`, or name one of: " \
                  "#{made.sort.join(', ')}"
      )
    end

    def self.use_bundle(folder)
      gemfile = File.join(folder, 'Gemfile')
      return unless File.file?(gemfile)

      ENV['BUNDLE_GEMFILE'] = gemfile
      require 'bundler/setup'
    rescue LoadError, StandardError => e
      raise unless e.class.name.start_with?('Bundler', 'LoadError')

      raise LoadError, "#{gemfile}: #{e.message.lines.first&.chomp}; run `bundle install` in #{folder}"
    end

    def self.load_file(file)
      Kernel.load(file)
    rescue SyntaxError => e
      raise Unusable, e.message
    rescue LoadError => e
      raise if e.path.nil? || e.path.start_with?('/')

      gem = e.path.split('/').first
      raise LoadError, "#{file} requires #{e.path}, which is not installed: gem install #{gem}"
    end
  end
end
