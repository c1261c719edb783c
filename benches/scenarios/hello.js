// Answers hello.
exports.handler = () => 'hello'
