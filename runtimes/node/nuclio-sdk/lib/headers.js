// The headers of an event: an object with names in Go's form that can be looked up in any case.
'use strict'

const { canonicalName, put } = require('./fields.js')

// Every value of each name, beside the object whose properties are the first ones.
const all = new WeakMap()

class Headers {
  // The first value of this name, whatever its case.
  get(name) {
    return this[canonicalName(String(name))]
  }

  // All values of this name, in the order they came.
  getAll(name) {
    const wanted = canonicalName(String(name))
    const values = all.get(this)
    if (values?.has(wanted)) return [...values.get(wanted)]
    return Object.hasOwn(this, wanted) ? [this[wanted]] : []
  }
}

const anyCase = {
  get(target, name) {
    if (typeof name !== 'string') return target[name]
    if (name === 'get' || name === 'getAll') return Headers.prototype[name].bind(target)
    if (name in target) return target[name]
    const canonical = canonicalName(name)
    return Object.hasOwn(target, canonical) ? target[canonical] : undefined
  },
  has(target, name) {
    return name in target || (typeof name === 'string' && Object.hasOwn(target, canonicalName(name)))
  },
}

function headersOf(pairs) {
  const headers = new Headers()
  const values = new Map()
  for (const [name, value] of pairs) {
    const before = values.get(name)
    if (before === undefined) {
      values.set(name, [value])
      put(headers, name, value)
    } else {
      before.push(value)
    }
  }
  all.set(headers, values)
  return new Proxy(headers, anyCase)
}

module.exports = { headersOf }
