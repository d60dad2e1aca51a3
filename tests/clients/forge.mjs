// forge and cast, unmodified, against a running network: scripts that broadcast, creations, replays, tests on a fork.
//
//   node forge.mjs DEVNET.json
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { encodeDeployData, getContractAddress } from 'viem'
import { generatePrivateKey } from 'viem/accounts'

const here = path.dirname(fileURLToPath(import.meta.url))
const devnet = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const url = devnet.validators[0].rpc
const { address: sender, privateKey: key } = devnet.accounts[3]
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'forge-'))
// npm's solc behind the arguments of a native one: forge would download its own.
const shim = path.join(here, '../../bridge/contracts/solc-shim.cjs')
const base = {
  ...process.env,
  ETH_RPC_URL: url,
  NO_COLOR: '1',
  FOUNDRY_SOLC: shim,
  FOUNDRY_OUT: path.join(work, 'out'),
  FOUNDRY_CACHE_PATH: path.join(work, 'cache'),
  FOUNDRY_BROADCAST: path.join(work, 'broadcast'),
}

const DEPLOYER = '0x4e59b44847b379578588920cA78FbF26c0B4956C'

const assert = (condition, words) => {
  if (!condition) throw new Error(words)
}
const same = (got, wanted, words) => assert(JSON.stringify(got) === JSON.stringify(wanted), `${words}: ${JSON.stringify(got)}, expected ${JSON.stringify(wanted)}`)
const ok = (words) => console.log(`ok ${words}`)
// The programs themselves: npm's wrapper around them ends with 0 whatever they say.
const program = (tool) => path.join(here, `node_modules/@foundry-rs/${tool}-${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}/bin/${tool}`)
const run = (tool, args, env = {}) => {
  const { status, stdout, stderr, error } = spawnSync(program(tool), args, { cwd: path.join(here, 'forge'), encoding: 'utf8', env: { ...base, ...env }, timeout: 60_000 })
  if (error) throw error
  return { status, stdout: stdout.trim(), text: `${stdout}\n${stderr}` }
}
const good = (tool, args, env) => {
  const result = run(tool, args, env)
  assert(result.status === 0, `${tool} ${args.join(' ')} ended with ${result.status}:\n${result.text}`)
  return result.stdout
}
const cast = (...args) => good('cast', args)
const fails = (words, { status, text }) => assert(status !== 0 && text.includes(words), `ended with ${status}, expected ${words}:\n${text}`)
const script = (contract, env) => run('forge', ['script', `script/Deploy.s.sol:${contract}`, '--rpc-url', url, '--private-key', key, '--broadcast'], env)
const broadcast = () => JSON.parse(fs.readFileSync(path.join(work, 'broadcast/Deploy.s.sol', String(devnet.chainId), 'run-latest.json'), 'utf8'))
const receiptOf = (hash) => JSON.parse(cast('receipt', '--json', hash))
const lower = (text) => text.toLowerCase()

function deploy() {
  const before = Number(cast('block-number'))
  const { status, text } = script('Deploy')
  assert(status === 0 && text.includes('ONCHAIN EXECUTION COMPLETE & SUCCESSFUL'), `forge script ended with ${status}:\n${text}`)
  const { transactions, receipts } = broadcast()
  same([transactions.map((each) => each.transactionType), receipts.map((each) => each.status)], [['CREATE', 'CREATE', 'CALL'], ['0x1', '0x1', '0x1']], 'a broadcast')
  const [counter, caller] = transactions.map((each) => each.contractAddress)
  // forge sends all at once and writes hashes down as the answers come in: only receipts tell which is which.
  const called = receipts.find((each) => each.to === caller)
  same(receipts.map((each) => each.contractAddress).filter(Boolean).sort(), [counter, caller].sort(), 'addresses in receipts')
  for (const each of receipts) {
    const { blockHash, gasUsed, logs } = receiptOf(each.transactionHash)
    same([each.blockHash, each.gasUsed, each.logs.length], [blockHash, gasUsed, logs.length], 'a receipt in the broadcast')
  }
  ok('forge script: two contracts and a call')
  return { before, counter, caller, called }
}

function salted() {
  const salt = generatePrivateKey()
  const { status, text } = script('Salted', { SALT: salt })
  assert(status === 0, `forge script ended with ${status}:\n${text}`)
  const { transactions: [made], receipts: [receipt] } = broadcast()
  const { abi, bytecode } = JSON.parse(fs.readFileSync(path.join(work, 'out/Contracts.sol/Counter.json'), 'utf8'))
  const address = getContractAddress({ opcode: 'CREATE2', from: DEPLOYER, salt, bytecode: encodeDeployData({ abi, bytecode: bytecode.object }) })
  same([made.transactionType, made.contractAddress, receipt.to, receipt.status], ['CREATE2', lower(address), lower(DEPLOYER), '0x1'], 'a broadcast with a salt')
  same(cast('call', address, 'value()(uint256)'), '0', 'what has a salt')
  ok('forge script: CREATE2 through the deterministic deployer')
}

function reads({ before, counter, called }) {
  same(cast('call', counter, 'value()(uint256)'), '42', 'cast call')
  same(cast('call', counter, 'value()(uint256)', '--block', String(Number(called.blockNumber))), '42', 'cast call at a block')
  same(Number(cast('storage', counter, '0')), 42, 'cast storage')
  const receipt = receiptOf(called.transactionHash)
  same([receipt.from, receipt.logs.length, Number(receipt.blockNumber) > before], [lower(sender), 2, true], 'cast receipt')
  const logs = JSON.parse(cast('logs', '--json', '--from-block', String(before), '--address', counter, 'Counted(address indexed,uint256)'))
  same(logs.map((log) => [log.transactionHash, Number(log.data)]), [[called.transactionHash, 21], [called.transactionHash, 42]], 'cast logs')
  const gas = Number(cast('estimate', '--from', sender, counter, 'add(uint256)', '5'))
  assert(gas > 21_000 && gas < 40_000, `cast estimate: ${gas}`)
  const refused = '0x590a5151'
  fails(refused, run('cast', ['estimate', counter, 'add(uint256)', '500']))
  fails(refused, run('cast', ['call', counter, 'add(uint256)', '500']))
  const proof = JSON.parse(cast('proof', counter, '0'))
  same([proof.codeHash, Number(proof.storageProof[0].value)], [cast('keccak', cast('code', counter)), 42], 'cast proof')
  ok('cast call, storage, receipt, logs, estimate, proof')
}

function replays({ caller, counter, called }) {
  const replay = (hash, ...args) => {
    const text = cast('run', ...args, hash)
    return { text, gas: Number(text.match(/Gas used: (\d+)/)[1]) }
  }
  const { text, gas } = replay(called.transactionHash)
  same(gas, Number(called.gasUsed), 'gas of a replay')
  assert(text.includes('Transaction successfully executed') && text.match(/emit /g).length === 2, `a replay:\n${text}`)
  const failed = JSON.parse(cast('send', '--json', '--private-key', key, '--gas-limit', '100000', counter, 'add(uint256)', '500'))
  const again = replay(failed.transactionHash)
  same([again.gas, failed.status, /Refused|0x590a5151/.test(again.text)], [Number(failed.gasUsed), '0x0', true], 'a replay of what failed')
  const trace = JSON.parse(cast('rpc', 'debug_traceTransaction', called.transactionHash, '{"tracer":"callTracer"}'))
  same([trace.to, trace.calls.length, Number(trace.gasUsed)], [caller, 2, gas], 'the trace of the node')
  assert(cast('call', caller, 'addTwice(uint256)', '1', '--trace').includes('emit '), 'a traced call')
  ok('cast run, also of what failed, and the trace of the node')
}

function create() {
  const made = JSON.parse(good('forge', ['create', 'src/Contracts.sol:Counter', '--rpc-url', url, '--private-key', key, '--broadcast', '--json']))
  same(receiptOf(made.transactionHash).contractAddress, lower(made.deployedTo), 'forge create')
  ok('forge create')
}

function fork({ before, counter, caller }) {
  const env = { COUNTER: counter, CALLER: caller, VALUE: '42', CHAIN_ID: String(devnet.chainId), RICH: devnet.accounts[0].address, BEFORE: String(before) }
  const report = JSON.parse(good('forge', ['test', '--fork-url', url, '--no-storage-caching', '--json'], env))
  const results = Object.values(report).flatMap((suite) => Object.entries(suite.test_results))
  same(results.map(([, { status }]) => status), ['Success', 'Success', 'Success'], 'tests on a fork')
  same(cast('call', counter, 'value()(uint256)'), '42', 'what tests did stays on the fork')
  ok('forge test on a fork')
}

try {
  const deployed = deploy()
  salted()
  reads(deployed)
  replays(deployed)
  create()
  fork(deployed)
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  fs.rmSync(work, { recursive: true })
}
