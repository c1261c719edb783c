// One record with a field for each event.
exports.handler = (context) => {
  context.logger.infoWith('handled', { size: 1 })
  return null
}
