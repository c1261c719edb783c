// Answers with the body as it came.
exports.handler = (context, event) => event.body
