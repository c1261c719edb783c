// Does nothing and never waits.
exports.handler = async () => null
