// Fails in a function below the handler, as real code does.
function check(order) {
  throw new RangeError(`no such order: ${order}`)
}

exports.handler = () => check(7)
