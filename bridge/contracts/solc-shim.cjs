#!/usr/bin/env node
// Stands in for the native compiler: forge asks for its version and gives it standard JSON; npm's `solc` does the work.
const solc = require('solc')
const fs = require('fs')
const path = require('path')

const args = process.argv.slice(2)
if (args.includes('--version')) {
  const version = solc.version().replace('.Emscripten.clang', '')
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}.Linux.g++`)
  process.exit(0)
}
const at = args.indexOf('--base-path')
const bases = [at >= 0 ? args[at + 1] : process.cwd(), process.cwd()]
const read = (name) => {
  for (const base of bases) {
    const file = path.join(base, name)
    if (fs.existsSync(file)) return { contents: fs.readFileSync(file, 'utf8') }
  }
  return { error: `not found: ${name}` }
}
process.stdout.write(solc.compile(fs.readFileSync(0, 'utf8'), { import: read }))
