# The smallest function: `nuclio run hello.rb`, then `curl 'http://127.0.0.1:8080/?name=Ada'`.

def handler(_context, event)
  "Hello, #{event.fields.fetch('name', 'world')}!\n"
end
