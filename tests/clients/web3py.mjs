// web3.py, unmodified, against a running network: compiles what `web3py.py` deploys, then runs it.
//
//   node web3py.mjs DEVNET.json
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import solc from 'solc'

const here = path.dirname(fileURLToPath(import.meta.url))
const python = process.env.PYTHON ?? ['.venv', 'venv'].map((name) => path.join(here, name, 'bin', 'python')).find((file) => fs.existsSync(file))
if (!python) throw new Error('no python: PYTHON, .venv or venv with web3 in it')

const input = {
  language: 'Solidity',
  sources: { 'Probe.sol': { content: fs.readFileSync(path.join(here, 'Probe.sol'), 'utf8') } },
  settings: { evmVersion: 'cancun', outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } },
}
const { abi, evm } = JSON.parse(solc.compile(JSON.stringify(input))).contracts['Probe.sol'].Probe
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'web3py-'))
try {
  const artifact = path.join(folder, 'Probe.json')
  fs.writeFileSync(artifact, JSON.stringify({ abi, bytecode: `0x${evm.bytecode.object}` }))
  const { status, error } = spawnSync(python, [path.join(here, 'web3py.py'), path.resolve(process.argv[2]), artifact], { stdio: 'inherit', timeout: 60_000 })
  if (error) throw error
  process.exitCode = status ?? 1
} finally {
  fs.rmSync(folder, { recursive: true })
}
