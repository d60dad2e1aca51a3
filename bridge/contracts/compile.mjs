// Compiles the contracts and writes their artifacts, or with --check compares them with what is committed.
import fs from 'node:fs'
import path from 'node:path'
import crypto from 'node:crypto'
import { createRequire } from 'node:module'

const solc = createRequire(import.meta.url)('solc')
const here = path.dirname(new URL(import.meta.url).pathname)
const wanted = ['EvmGateway', 'TronGateway', 'GatewayProxy', 'PlainToken', 'NoReturnToken', 'FalseReturnToken', 'FeeToken', 'BlacklistToken']
const sha = (text) => crypto.createHash('sha256').update(text).digest('hex')

function files(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(path.join(folder, entry.name)) : [path.join(folder, entry.name)],
  )
}

const sources = {}
for (const file of files(path.join(here, 'src')).sort()) {
  sources[path.relative(here, file)] = { content: fs.readFileSync(file, 'utf8') }
}
// As foundry.toml has them.
const settings = {
  evmVersion: 'cancun',
  viaIR: true,
  optimizer: { enabled: true, runs: 2000 },
  metadata: { bytecodeHash: 'none', appendCBOR: false },
  outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object', 'storageLayout'] } },
}
const used = {}
const read = (name) => {
  const file = path.join(here, 'node_modules', name)
  if (!fs.existsSync(file)) return { error: `not found: ${name}` }
  used[name] = fs.readFileSync(file, 'utf8')
  return { contents: used[name] }
}
const output = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings }), { import: read }))
const errors = (output.errors ?? []).filter((error) => error.severity === 'error')
if (errors.length) {
  console.error(errors.map((error) => error.formattedMessage).join('\n'))
  process.exit(1)
}
const everything = Object.entries(used).sort().concat(Object.entries(sources).map(([name, { content }]) => [name, content]))
const sourcesHash = sha(JSON.stringify(everything))
let drift = 0
for (const contracts of Object.values(output.contracts)) {
  for (const [name, contract] of Object.entries(contracts)) {
    if (!wanted.includes(name)) continue
    const deployed = contract.evm.deployedBytecode.object
    if (deployed.length / 2 >= 24576) throw new Error(`${name} has ${deployed.length / 2} bytes, too many`)
    const layout = contract.storageLayout.storage.map(({ label, slot, offset, type }) => ({ label, slot, offset, type: type.replace(/\)\d+/g, ')') }))
    const artifact = {
      contractName: name,
      abi: contract.abi,
      bytecode: `0x${contract.evm.bytecode.object}`,
      deployedBytecode: `0x${deployed}`,
      storageLayout: layout,
      solc: solc.version(),
      settingsHash: sha(JSON.stringify(settings)),
      sourcesHash,
    }
    const file = path.join(here, 'artifacts', `${name}.json`)
    const text = `${JSON.stringify(artifact, null, 1)}\n`
    if (process.argv.includes('--check')) {
      if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== text) {
        console.error(`artifacts/${name}.json is not what the sources compile to: run node compile.mjs`)
        drift += 1
      }
    } else {
      fs.writeFileSync(file, text)
    }
  }
}
if (!drift) console.log(`${wanted.length} contracts ${process.argv.includes('--check') ? 'equal their artifacts' : 'compiled'}`)
process.exit(drift ? 1 : 0)
