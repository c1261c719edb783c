// Does nothing, so that what is measured is the runtime.
exports.handler = () => null
