// Code that cannot be a function, for the conformance kit.
exports.handler = (
