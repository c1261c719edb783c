// Finds the handler; explains what is wrong with the code.
'use strict'

const fs = require('node:fs')
const { builtinModules } = require('node:module')
const path = require('node:path')
const { pathToFileURL } = require('node:url')
const failure = require('./failure.js')

const ENDINGS = ['.js', '.mjs', '.cjs', '.ts', '.mts', '.cts']
const NAMES_IN_FOLDER = ['handler', 'index', 'main', 'app', 'function']
// As in nuclio a handler may be exported late: within ten seconds, as long as something is going on
// that could still export it.
const LATE_MS = 10_000
const LOOK_MS = 25

// The code cannot be a function as it stands; the message is the whole story.
class Unusable extends Error {}

async function load(codePath, handler) {
  const [moduleName, name] = parts(handler)
  const file = fileOf(codePath, moduleName)
  const module = await imported(file)
  const found = await handlerOf(module, name, file)
  return { handler: found, init: initOf(module), file }
}

// `name`, `file.js:name` or `folder/file:name`.
function parts(handler) {
  const colon = handler.lastIndexOf(':')
  return colon < 0 ? ['', handler] : [handler.slice(0, colon), handler.slice(colon + 1)]
}

function fileOf(codePath, moduleName) {
  if (!fs.statSync(codePath).isDirectory()) return codePath
  const isFile = (file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile()
  const tried = moduleName === '' ? inFolder(codePath) : [moduleName]
  for (const name of tried) {
    for (const ending of ['', ...ENDINGS]) {
      const file = path.join(codePath, name + ending)
      if (isFile(file)) return file
    }
  }
  const what = moduleName === '' ? 'a handler file' : `the module ${moduleName}`
  throw new Unusable(`${what} is not in ${codePath}; name it with --handler FILE:FUNCTION`)
}

function inFolder(folder) {
  const names = [...NAMES_IN_FOLDER]
  try {
    const { main } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'))
    if (typeof main === 'string') names.unshift(main)
  } catch {
    // No package.json, or one that says nothing.
  }
  const files = fs.readdirSync(folder).filter((name) => ENDINGS.includes(path.extname(name)))
  return files.length === 1 ? [files[0], ...names] : names
}

async function imported(file) {
  try {
    return await import(pathToFileURL(file))
  } catch (error) {
    throw explained(error, file)
  }
}

function explained(error, file) {
  if (error?.code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[mc]?ts$/.test(file)) {
    return new Unusable(
      `${file} is TypeScript, which Node ${process.versions.node} does not run by itself: use Node ` +
        '22.18 or later, or compile it to JavaScript (npx tsc) and serve the result',
    )
  }
  if (error instanceof SyntaxError) {
    return new Unusable(`${file}: ${failure.lastLine(error)}\n${failure.stack(error)}`)
  }
  const missing = missingPackage(error)
  if (missing === null) return error
  const home = packageFolder(path.dirname(file))
  const unusable = new Unusable(
    `${file} needs the package ${missing}, which is not installed: run npm install ${missing} in ` +
      home,
  )
  unusable.missing = true
  return unusable
}

// The npm package that an import did not find; null for files of the function itself.
function missingPackage(error) {
  if (error?.code !== 'MODULE_NOT_FOUND' && error?.code !== 'ERR_MODULE_NOT_FOUND') return null
  const specifier = /Cannot find (?:package|module) '([^']+)'/.exec(error.message)?.[1]
  if (!specifier || /^[./]|^file:|^node:/.test(specifier)) return null
  const words = specifier.split('/')
  const name = specifier.startsWith('@') ? words.slice(0, 2).join('/') : words[0]
  return builtinModules.includes(name) ? null : name
}

function packageFolder(folder) {
  for (let at = folder; ; at = path.dirname(at)) {
    if (fs.existsSync(path.join(at, 'package.json'))) return at
    if (at === path.dirname(at)) return folder
  }
}

// Both faces of a module: its named exports and, for CommonJS, what `exports` has by now.
function exported(module, name) {
  const own = module[name]
  if (own !== undefined) return own
  const whole = module.default
  return whole !== null && (typeof whole === 'object' || typeof whole === 'function')
    ? whole[name]
    : undefined
}

async function handlerOf(module, name, file) {
  const end = Date.now() + LATE_MS
  for (;;) {
    const found = name === '' ? unnamed(module, file) : exported(module, name)
    if (typeof found === 'function') return found
    if (found !== undefined && found !== null) {
      throw new Unusable(`${file}: ${name || 'handler'} is no function but ${typeof found}`)
    }
    if (Date.now() >= end || !somethingGoesOn()) throw noHandler(module, name, file)
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

function somethingGoesOn() {
  const idle = new Set(['PipeWrap', 'TTYWrap', 'SignalWrap'])
  return process.getActiveResourcesInfo().some((kind) => !idle.has(kind))
}

// The function called `handler`, else the module itself, else the only one with two parameters.
function unnamed(module, file) {
  const handler = exported(module, 'handler')
  if (handler !== undefined) return handler
  if (typeof module.default === 'function') return module.default
  const names = functions(module).filter((name) => exported(module, name).length === 2)
  if (names.length === 1) return exported(module, names[0])
  if (names.length > 1) {
    throw new Unusable(
      `${file} exports several functions that may be the handler (${names.join(', ')}); name one ` +
        `with --handler ${path.parse(file).name}:${names[0]}`,
    )
  }
  return undefined
}

function functions(module) {
  const whole = module.default
  const names = new Set([...Object.keys(module), ...Object.keys(Object(whole))])
  names.delete('default')
  names.delete('module.exports')
  for (const name of ['initContext', 'init_context']) names.delete(name)
  return [...names].filter((name) => typeof exported(module, name) === 'function').sort()
}

function noHandler(module, name, file) {
  const names = functions(module)
  const there = names.length === 0 ? 'it exports no function' : `it exports ${names.join(', ')}`
  const wanted = name === '' ? 'no handler' : `no function ${name}`
  return new Unusable(
    `${file} has ${wanted}: ${there}; write exports.handler = (context, event) => ... (export in an ` +
      'ES module), or name another with --handler',
  )
}

function initOf(module) {
  const found = exported(module, 'initContext') ?? exported(module, 'init_context')
  return typeof found === 'function' ? found : null
}

module.exports = { Unusable, load }
