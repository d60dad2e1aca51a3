// A thousand transactions of every kind, replayed block by block on anvil: receipts and traces must be the same.
//
//   node anvil.mjs DEVNET.json [TRANSACTIONS] [SEED]
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeMix } from './anvil-mix.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const require = createRequire(import.meta.url)
const devnet = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const wanted = Number(process.argv[3] ?? 1000)
const seed = Number(process.argv[4] ?? 1)
const hex = (number) => `0x${BigInt(number).toString(16)}`
const ok = (words) => console.log(`ok ${words}`)
const pause = (time) => new Promise((done) => setTimeout(done, time))

/** Sends requests in batches; gives the results in their order, or an `Error` in the place of one. */
async function batch(url, requests) {
  if (requests.length > 500) return [...(await batch(url, requests.slice(0, 500))), ...(await batch(url, requests.slice(500)))]
  const body = JSON.stringify(requests.map(([method, ...params], id) => ({ jsonrpc: '2.0', id, method, params })))
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body, signal: AbortSignal.timeout(60_000) })
  const results = []
  for (const { id, result, error } of await answer.json()) results[id] = error ? Object.assign(new Error(`${requests[id][0]}: ${error.message}`), error) : result
  return results
}
const one = async (url, ...request) => {
  const [result] = await batch(url, [request])
  if (result instanceof Error) throw result
  return result
}
const ours = devnet.validators[0].rpc
const ask = (...request) => one(ours, ...request)

async function until(words, seconds, done) {
  const end = Date.now() + 1000 * seconds
  for (;;) {
    const result = await done().catch((error) => error)
    if (result && !(result instanceof Error)) return result
    assert(Date.now() < end, `${words} took more than ${seconds} s${result ? `: ${result.message}` : ''}`)
    await pause(30)
  }
}

function compile() {
  const solc = require('solc')
  const content = fs.readFileSync(path.join(here, 'Runner.sol'), 'utf8')
  const settings = { evmVersion: 'osaka', optimizer: { enabled: true, runs: 200 }, outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } }
  const output = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources: { 'Runner.sol': { content } }, settings })))
  const { abi, evm } = output.contracts['Runner.sol'].Runner
  return { abi, bytecode: `0x${evm.bytecode.object}` }
}

/** Sends transactions and waits until they are in blocks; gives what each is, and its bytes. */
async function fill(mix) {
  const kinds = new Map()
  const raws = new Map()
  for (let sent = await mix.first(); sent.length; sent = raws.size < wanted ? await mix.burst(Math.min(40, wanted - raws.size)) : []) {
    const answers = await batch(ours, sent.map(({ raw }) => ['eth_sendRawTransaction', raw]))
    sent.forEach(({ hash, kind, raw }, index) => {
      assert.equal(answers[index], hash, `${kind} was refused: ${answers[index]}`)
      raws.set(hash, raw)
      kinds.set(hash, kind)
    })
    const last = sent.map(({ hash }) => ['eth_getTransactionReceipt', hash])
    await until('inclusion', 60, async () => (await batch(ours, last)).every(Boolean))
  }
  return { kinds, raws }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise((done) => server.on('listening', done))
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  return port
}

/** Starts anvil at a block of ours. */
async function startAnvil(start) {
  const port = await freePort()
  const options = { port, hardfork: 'osaka', 'chain-id': devnet.chainId, 'gas-limit': BigInt(start.gasLimit), order: 'fifo', number: BigInt(start.number), timestamp: BigInt(start.timestamp), accounts: 1 }
  const flags = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
  const binary = path.join(path.dirname(require.resolve(`@foundry-rs/anvil-linux-${process.arch === 'x64' ? 'amd64' : process.arch}/package.json`)), 'bin/anvil')
  const child = spawn(binary, [...flags, '--no-mining', '--quiet', '--disable-min-priority-fee', '--disable-default-create2-deployer', '--disable-console-log'], { stdio: 'ignore' })
  process.on('exit', () => child.kill('SIGKILL'))
  const url = `http://127.0.0.1:${port}`
  await until('starting anvil', 20, () => one(url, 'eth_blockNumber'))
  return url
}

const FIELDS = { eth_getBalance: 'anvil_setBalance', eth_getTransactionCount: 'anvil_setNonce', eth_getCode: 'anvil_setCode', eth_getStorageAt: 'anvil_setStorageAt' }
/** What to ask about accounts, given as a map from address to slots. */
const fieldsOf = (accounts) => [...accounts].flatMap(([address, slots]) => Object.keys(FIELDS).flatMap((method) => (method === 'eth_getStorageAt' ? [...slots].map((slot) => [method, address, slot]) : [[method, address]])))

/** Notes the accounts and slots of a prestate or one side of a state diff. */
function noteAccounts(accounts, state) {
  for (const [address, { storage = {} }] of Object.entries(state)) {
    const slots = accounts.get(address) ?? new Set()
    for (const slot of Object.keys(storage)) slots.add(slot)
    accounts.set(address, slots)
  }
}

/** Gives anvil whatever the blocks touch, as it was on our chain before them. */
async function copyAccounts(url, blocks, number) {
  const touched = new Map()
  for (let at = 0; at < blocks.length; at += 10) {
    const requests = blocks.slice(at, at + 10).map((block) => ['debug_traceBlockByNumber', block.number, { tracer: 'prestateTracer' }])
    for (const block of await batch(ours, requests)) for (const { result } of block) noteAccounts(touched, result)
  }
  const fields = fieldsOf(touched)
  const values = await batch(ours, fields.map((field) => [...field, number]))
  const sets = fields.map(([method, ...place], index) => [FIELDS[method], ...place, values[index]])
  for (const result of await batch(url, sets)) assert(!(result instanceof Error), result)
}

/** Makes the same blocks on anvil. */
async function replay(url, blocks, raws) {
  for (const { number, timestamp, baseFeePerGas, miner, transactions } of blocks) {
    // Hooks between blocks may pay the beneficiary.
    const balance = await ask('eth_getBalance', miner, hex(BigInt(number) - 1n))
    const set = [['evm_setNextBlockTimestamp', Number(timestamp)], ['anvil_setNextBlockBaseFeePerGas', baseFeePerGas], ['anvil_setCoinbase', miner]]
    if (transactions.length && (await one(url, 'eth_getBalance', miner, 'latest')) !== balance) set.push(['anvil_setBalance', miner, balance])
    for (const request of set) await one(url, ...request)
    for (const hash of transactions) await one(url, 'eth_sendRawTransaction', raws.get(hash) ?? (await ask('eth_getRawTransactionByHash', hash)))
    await one(url, 'evm_mine')
    const made = await one(url, 'eth_getBlockByNumber', 'latest', false)
    assert.deepEqual([made.number, made.transactions], [number, transactions], 'anvil put other transactions into its block')
  }
}

/** Every place where two JSON values differ, as [path, ours, theirs]; what one lacks is undefined. */
function differences(left, right, at = '') {
  const isObject = (value) => value !== null && typeof value === 'object'
  if (!isObject(left) || !isObject(right)) return Object.is(left, right) ? [] : [[at, left, right]]
  const keys = [...new Set([...Object.keys(left), ...Object.keys(right)])]
  return keys.flatMap((key) => differences(left[key], right[key], `${at}.${key}`))
}

const tracer = (name, tracerConfig) => (hash) => ['debug_traceTransaction', hash, { tracer: name, ...(tracerConfig && { tracerConfig }) }]
const ASPECTS = {
  'transaction': (hash) => ['eth_getTransactionByHash', hash],
  'receipt': (hash) => ['eth_getTransactionReceipt', hash],
  'call trace': tracer('callTracer', { withLog: true }),
  'prestate': tracer('prestateTracer'),
  'state diff': tracer('prestateTracer', { diffMode: true }),
}
const HEADER = ['number', 'timestamp', 'miner', 'gasLimit', 'gasUsed', 'baseFeePerGas', 'logsBloom', 'transactionsRoot', 'receiptsRoot', 'blobGasUsed', 'excessBlobGas']

/** geth's words for what anvil 1.7.1 calls by revm's names. */
const GETH_ERRORS = {
  StateChangeDuringStaticCall: 'write protection',
  CallNotAllowedInsideStatic: 'write protection',
  CreateContractSizeLimit: 'max code size exceeded',
  CreateInitCodeSizeLimit: 'max initcode size exceeded',
  CreateContractStartingWithEF: 'invalid code: must not begin with 0xef',
  CreateCollision: 'contract address collision',
  StackUnderflow: 'stack underflow',
  OutOfOffset: 'return data out of bounds',
  CallTooDeep: 'max call depth exceeded',
  'out of gas: out of memory': 'out of gas',
  'out of gas: invalid operand': 'gas uint64 overflow',
  'Out of stack': 'stack limit reached 1024 (1023)',
}
const isNothing = (value) => value === '0x0' || /^0x(00){32}$/.test(value) || (typeof value === 'object' && Object.values(value).every(isNothing))

/** Whether the logs of our call trace, in the order of their indexes, are exactly those of the receipt. */
function logsAreTheReceipts({ 'call trace': { ours: trace }, receipt }) {
  const flat = (frame) => [...(frame.logs ?? []), ...(frame.calls ?? []).flatMap(flat)]
  const shown = flat(trace).sort((one, other) => Number(one.index) - Number(other.index))
  const parts = ({ address, topics, data, index, logIndex }) => JSON.stringify([address, topics, data, logIndex ?? index])
  return JSON.stringify(shown.map(parts)) === JSON.stringify(receipt.ours.logs.map(parts))
}

/**
 * Why a difference is none of ours, by geth's sources: each entry checks that our value is geth's, from another answer where
 * there is one. `known` has all that both said of the transaction.
 */
const JUDGED = {
  'hashes of blocks differ, as their parents do': (aspect, at) => aspect !== 'state diff' && /^(\.logs\.\d+)?\.blockHash$/.test(at),
  'anvil names a price of blob gas without blobs; geth does for type 3 only': (aspect, at, mine, theirs, { receipt }) => aspect === 'receipt' && at === '.blobGasPrice' && mine === undefined && receipt.ours.type !== '0x3',
  "anvil puts its block's time into receipts; geth puts it into logs only": (aspect, at, mine, theirs) => aspect === 'receipt' && at === '.blockTimestamp' && mine === undefined && typeof theirs === 'number',
  "the outermost call's gas is the transaction's limit in geth; anvil takes what it cost before it began from it": (aspect, at, mine, theirs, { transaction }) => aspect === 'call trace' && at === '.gas' && mine === transaction.ours.gas && BigInt(theirs) < BigInt(mine),
  "the outermost call's gas used is the receipt's in geth; anvil has the receipt's cumulative gas": (aspect, at, mine, theirs, { receipt }) => aspect === 'call trace' && at === '.gasUsed' && mine === receipt.ours.gasUsed && theirs === receipt.ours.cumulativeGasUsed,
  'anvil has revm\'s names for errors that geth has words for': (aspect, at, mine, theirs) => aspect === 'call trace' && at.endsWith('.error') && mine === GETH_ERRORS[theirs],
  "geth counts a log's index in its block, as receipts do; anvil in the transaction": (aspect, at, mine, theirs, known) => aspect === 'call trace' && /\.logs\.\d+\.index$/.test(at) && mine !== undefined && logsAreTheReceipts(known),
  'geth leaves out the logs of calls that failed; anvil shows them': (aspect, at, mine, theirs, known) => aspect === 'call trace' && at.endsWith('.logs') && mine === undefined && logsAreTheReceipts(known),
  'geth says that a delegation was cleared; anvil does not': (aspect, at, mine, theirs, known) => aspect === 'state diff' && /^\.post\.0x[0-9a-f]{40}\.code$/.test(at) && mine === '0x' && theirs === undefined && known[aspect].ours.pre[at.slice(6, 48)].code.startsWith('0xef0100'),
  'geth leaves out accounts that were empty; anvil shows them': (aspect, at, mine, theirs) => aspect === 'prestate' && /^\.0x[0-9a-f]{40}$/.test(at) && mine === undefined && isNothing(theirs),
}
const judge = (aspect, difference, known) => Object.entries(JUDGED).find(([, fits]) => fits(aspect, ...difference, known))?.[0]

/** Compares what both say of some transactions. */
async function compare(url, hashes, kinds, report, watch) {
  const known = new Map(hashes.map((hash) => [hash, {}]))
  for (const [aspect, request] of Object.entries(ASPECTS)) {
    const requests = hashes.map(request)
    const [left, right] = await Promise.all([batch(ours, requests), batch(url, requests)])
    hashes.forEach((hash, index) => {
      const [mine, theirs] = [left[index], right[index]]
      assert(mine && !(mine instanceof Error), `our ${aspect} of ${hash} (${kinds.get(hash)}): ${mine}`)
      assert(theirs && !(theirs instanceof Error), `anvil's ${aspect} of ${hash} (${kinds.get(hash)}): ${theirs}`)
      known.get(hash)[aspect] = { ours: mine, theirs }
      for (const difference of differences(mine, theirs)) report(aspect, hash, difference, known.get(hash))
    })
  }
  for (const [hash, answers] of known) watch(hash, answers)
}

/** What the transactions were: without variety the comparison would say little. */
class Variety {
  frames = new Map()
  errors = new Set()
  changed = new Map()

  watch({ 'call trace': { ours: call }, 'state diff': { ours: diff } }) {
    const walk = (frame) => {
      this.frames.set(frame.type, (this.frames.get(frame.type) ?? 0) + 1)
      if (frame.error) this.errors.add(frame.error)
      frame.calls?.forEach(walk)
    }
    walk(call)
    for (const side of [diff.pre, diff.post]) noteAccounts(this.changed, side)
  }
}

async function main() {
  const runner = compile()
  const start = await ask('eth_getBlockByNumber', 'latest', false)
  const accountOf = async (address) => {
    const [nonce, balance] = await batch(ours, ['eth_getTransactionCount', 'eth_getBalance'].map((method) => [method, address, 'latest']))
    return { nonce: Number(nonce), balance: BigInt(balance) }
  }
  const keys = devnet.accounts.map((account) => account.privateKey)
  const mix = await makeMix({ seed, chainId: devnet.chainId, keys, runner, accountOf, beneficiary: start.miner })
  const { kinds, raws } = await fill(mix)
  const end = BigInt(await ask('eth_blockNumber'))
  const numbers = Array.from({ length: Number(end - BigInt(start.number)) }, (_, index) => hex(BigInt(start.number) + BigInt(index) + 1n))
  const blocks = await batch(ours, numbers.map((number) => ['eth_getBlockByNumber', number, false]))
  const full = blocks.filter(({ transactions }) => transactions.length)
  const hashes = full.flatMap(({ transactions }) => transactions)
  const most = Math.max(...full.map(({ transactions }) => transactions.length))
  ok(`${hashes.length} transactions in ${full.length} blocks, up to ${most} in one`)

  const url = await startAnvil(start)
  await copyAccounts(url, full, start.number)
  await replay(url, blocks, raws)
  ok(`the same blocks on anvil, ${blocks.length - full.length} of them empty`)

  const headers = await batch(url, full.map(({ number }) => ['eth_getBlockByNumber', number, false]))
  full.forEach((block, index) => {
    for (const field of HEADER) assert.equal(block[field], headers[index][field], `${field} of block ${Number(block.number)}`)
  })
  ok(`${HEADER.join(', ')} of ${full.length} blocks`)

  const variety = new Variety()
  const judged = new Map()
  const unknown = []
  const report = (aspect, hash, difference, known) => {
    const words = judge(aspect, difference, known)
    if (words) judged.set(words, [...(judged.get(words) ?? []), hash])
    else unknown.push({ aspect, hash, kind: kinds.get(hash), difference })
  }
  for (let at = 0; at < hashes.length; at += 25) await compare(url, hashes.slice(at, at + 25), kinds, report, (hash, answers) => variety.watch(answers))
  for (const [words, found] of judged) ok(`${found.length} times in ${new Set(found).size} transactions: ${words}`)
  const shownDifference = ({ aspect, hash, kind, difference: [at, mine, theirs] }) => `${aspect} of ${hash} (${kind}), ${at}: ours ${JSON.stringify(mine)}, anvil's ${JSON.stringify(theirs)}`
  assert(!unknown.length, `${unknown.length} differences, among them:\n${unknown.slice(0, 20).map(shownDifference).join('\n')}`)
  ok(`${Object.keys(ASPECTS).join('s, ')}s of ${hashes.length} transactions`)
  for (const type of ['CALL', 'STATICCALL', 'DELEGATECALL', 'CREATE', 'CREATE2']) assert(variety.frames.has(type), `no ${type} among them`)
  ok(`they had ${[...variety.frames].map(([type, count]) => `${count} ${type}`).join(', ')} and ${variety.errors.size} kinds of failure`)

  // Hooks pay beneficiaries after their blocks.
  const miners = new Set(blocks.map(({ miner }) => miner))
  const fields = fieldsOf(variety.changed).filter(([method, address]) => method !== 'eth_getBalance' || !miners.has(address))
  const last = fields.map((field) => [...field, hex(end)])
  const [left, right] = await Promise.all([batch(ours, last), batch(url, last)])
  last.forEach((request, index) => assert.equal(left[index], right[index], `${request}`))
  ok(`${last.length} balances, nonces, codes and slots at the end`)
}

main().then(() => process.exit(0), (error) => {
  console.error(process.env.DEBUG ? error : error.message)
  process.exit(1)
})
