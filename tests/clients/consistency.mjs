// Every method and subscription says the same of a block, from the moment in which its head is told, under load.
//
//   node consistency.mjs DEVNET.json [BLOCKS]
import fs from 'node:fs'
import { createPublicClient, createWalletClient, defineChain, encodeFunctionData, http, keccak256, parseAbi } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import WebSocket from 'ws'

const devnet = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const wanted = Number(process.argv[3] ?? 25)
const WBTT = '0x23181F21DEa5936e24163FFABa4Ea3B316B57f3C'
const BTT = '0x0000000000000000000000000000000000001010'
const shown = (value) => JSON.stringify(value)
const same = (got, expected, words) => {
  if (shown(got) !== shown(expected)) throw new Error(`${words}: ${shown(got)}, expected ${shown(expected)}`)
}
const sorted = (object) => Object.fromEntries(Object.entries(object).sort())

// A connection whose requests go out at once, with its subscriptions.
class Connection {
  constructor(url) {
    this.socket = new WebSocket(url)
    this.waiting = new Map()
    this.listeners = new Map()
    this.early = new Map()
    this.next = 1
    this.socket.on('message', (text) => this.take(JSON.parse(text)))
  }
  open() {
    return new Promise((done, failed) => this.socket.on('open', done).on('error', failed))
  }
  take(message) {
    if (message.method) {
      const { subscription, result } = message.params
      // A notification may come before the answer that names its subscription is handled.
      const listener = this.listeners.get(subscription)
      if (listener) listener(result)
      else this.early.set(subscription, [...(this.early.get(subscription) ?? []), result])
      return
    }
    const { done, failed, method } = this.waiting.get(message.id)
    this.waiting.delete(message.id)
    if (message.error) failed(new Error(`${method}: ${shown(message.error)}`))
    else done(message.result)
  }
  ask(method, ...params) {
    const id = this.next++
    return new Promise((done, failed) => {
      this.waiting.set(id, { done, failed, method })
      this.socket.send(shown({ jsonrpc: '2.0', id, method, params }))
    })
  }
  async subscribe(listener, ...params) {
    const id = await this.ask('eth_subscribe', ...params)
    this.listeners.set(id, listener)
    for (const result of this.early.get(id) ?? []) listener(result)
  }
}

const [first, second] = devnet.validators
const chain = defineChain({ id: devnet.chainId, name: 'bttc', nativeCurrency: { name: 'BTT', symbol: 'BTT', decimals: 18 }, rpcUrls: { default: { http: [second.rpc] } } })
let stopped = false

// Transfers, deposits that log, and calls into a native module that log, through another node.
async function load(index) {
  const account = privateKeyToAccount(devnet.accounts[index].privateKey)
  const client = createPublicClient({ chain, transport: http(second.rpc) })
  const wallet = createWalletClient({ account, chain, transport: http(second.rpc) })
  const transfer = encodeFunctionData({ abi: parseAbi(['function transfer(address,uint256)']), args: [devnet.accounts[0].address, 1n] })
  const kinds = [{ to: account.address, value: 1n, gas: 21_000n }, { to: WBTT, value: 2n, gas: 100_000n }, { to: BTT, data: transfer, gas: 200_000n }]
  const fees = { maxFeePerGas: 1_000_000_000_000n, maxPriorityFeePerGas: 1n }
  for (let nonce = await client.getTransactionCount({ address: account.address }); !stopped; nonce += 12) {
    await Promise.all(Array.from({ length: 12 }, (_, at) => wallet.sendTransaction({ ...kinds[at % 3], ...fees, nonce: nonce + at })))
    while (!stopped && (await client.getTransactionCount({ address: account.address })) < nonce + 12) await new Promise((done) => setTimeout(done, 20))
  }
}

const connection = new Connection(first.rpc.replace('http', 'ws'))
await connection.open()
const ask = (...call) => connection.ask(...call)

// What subscriptions told, by block.
const told = { logs: new Map(), receipts: new Map() }
const add = (map, key, entries) => map.set(key, [...(map.get(key) ?? []), ...entries])

async function check(head) {
  // All in one go, right when the head is told.
  const { hash, number } = head
  const [byHash, byNumber, withHashes, header, headerByNumber, receipts, receiptsByNumber, logsByHash, logsByRange, count, rawHeader, rawReceipts, certificate, details, traces] = await Promise.all([
    ask('eth_getBlockByHash', hash, true),
    ask('eth_getBlockByNumber', number, true),
    ask('eth_getBlockByHash', hash, false),
    ask('eth_getHeaderByHash', hash),
    ask('eth_getHeaderByNumber', number),
    ask('eth_getBlockReceipts', hash),
    ask('eth_getBlockReceipts', number),
    ask('eth_getLogs', { blockHash: hash }),
    ask('eth_getLogs', { fromBlock: number, toBlock: number }),
    ask('eth_getBlockTransactionCountByHash', hash),
    ask('debug_getRawHeader', number),
    ask('debug_getRawReceipts', hash),
    ask('bttc_certificate', number),
    ask('ots_getBlockDetails', number),
    ask('trace_block', number),
  ])
  same(byNumber, byHash, 'the block by number')
  for (const [field, value] of Object.entries(head)) same(byHash[field], value, `the head's ${field}`)
  same(headerByNumber, header, 'the header by number')
  for (const [field, value] of Object.entries(header)) same(value, byHash[field], `the header's ${field}`)
  same(keccak256(rawHeader), hash, 'the hash of the raw header')
  same(certificate.blockHash, hash, 'what the certificate decided')
  same(details.block.hash, hash, "the explorer's block")
  const hashes = byHash.transactions.map((transaction) => transaction.hash)
  same(withHashes.transactions, hashes, 'hashes of transactions')
  same([Number(count), receipts.length, rawReceipts.length], Array(3).fill(hashes.length), 'numbers of transactions')
  same(receiptsByNumber, receipts, 'receipts by number')
  const logs = receipts.flatMap((receipt) => receipt.logs)
  same(logsByHash, logs, 'logs by hash')
  same(logsByRange, logs, 'logs by range')
  same(logs.map((log) => Number(log.logIndex)), logs.map((_, index) => index), 'indexes of logs')
  same([...new Set(traces.map((trace) => trace.transactionHash))], hashes, 'traces')
  for (const trace of traces) same(trace.blockHash, hash, 'the block of a trace')
  const some = hashes.map((_, index) => index).filter((index) => index < 3 || index === hashes.length - 1)
  await Promise.all(some.map(async (index) => {
    const at = `0x${index.toString(16)}`
    const [alone, ofHash, ofNumber, receipt] = await Promise.all([
      ask('eth_getTransactionByHash', hashes[index]),
      ask('eth_getTransactionByBlockHashAndIndex', hash, at),
      ask('eth_getTransactionByBlockNumberAndIndex', number, at),
      ask('eth_getTransactionReceipt', hashes[index]),
    ])
    for (const one of [alone, ofHash, ofNumber]) same(one, byHash.transactions[index], 'a transaction')
    same(receipt, receipts[index], 'a receipt')
    same([receipt.transactionHash, receipt.blockHash, receipt.blockNumber, receipt.transactionIndex], [hashes[index], hash, number, at], 'where a receipt is')
  }))
  return { hash, number, receipts, logs }
}

const heads = []
const checks = []
let failure
let enough
const done = new Promise((resolve) => (enough = resolve))
let full = 0
const [blockFilter, logFilter] = await Promise.all([ask('eth_newBlockFilter'), ask('eth_newFilter', {})])
await connection.subscribe((log) => add(told.logs, log.blockHash, [log]), 'logs', {})
await connection.subscribe((all) => add(told.receipts, all[0].blockHash, all), 'transactionReceipts')
await connection.subscribe((head) => {
  heads.push(head)
  checks.push(check(head).then((block) => {
    if (block.logs.length > 0 && ++full >= wanted) enough()
  }).catch((error) => {
    failure ??= new Error(`block ${Number(head.number)}: ${error.message}`)
    enough()
  }))
}, 'newHeads')
const loads = [7, 8].map(load)
const late = setTimeout(() => {
  failure ??= new Error(`only ${full} blocks with logs in two minutes`)
  enough()
}, 120_000)
await done
clearTimeout(late)
stopped = true
await Promise.all([...checks, ...loads.map((one) => one.catch((error) => (failure ??= error)))])
if (failure) throw failure

// Heads come in order without a gap, each on the one before. More come meanwhile; what is compared ends here.
const seen = heads.slice()
for (let index = 1; index < seen.length; index++) same(seen[index].parentHash, seen[index - 1].hash, 'the parent of a head')
const known = new Map(seen.map((head) => [head.hash, head]))
// A poll is told what came since the filter was made: these heads, perhaps some before and after.
const polled = (await ask('eth_getFilterChanges', blockFilter)).filter((hash) => known.has(hash))
same(polled, seen.map((head) => head.hash), 'blocks of the filter')
const pollLogs = (await ask('eth_getFilterChanges', logFilter)).filter((log) => known.has(log.blockHash))
let logs = 0
for (const head of seen) {
  const receipts = await ask('eth_getBlockReceipts', head.hash)
  const expected = receipts.flatMap((receipt) => receipt.logs)
  logs += expected.length
  // Each subscription has a task of its own: one may be behind another.
  const behind = () => (told.logs.get(head.hash) ?? []).length < expected.length || (told.receipts.get(head.hash) ?? []).length < receipts.length
  for (let wait = 0; wait < 200 && behind(); wait++) await new Promise((done) => setTimeout(done, 50))
  same(told.logs.get(head.hash) ?? [], expected, 'logs of the subscription')
  same(pollLogs.filter((log) => log.blockHash === head.hash), expected, 'logs of the filter')
  same((told.receipts.get(head.hash) ?? []).map(sorted), receipts.map(sorted), 'receipts of the subscription')
  // Other nodes have the same blocks.
  for (const { rpc } of devnet.validators.slice(1)) {
    const other = createPublicClient({ chain, transport: http(rpc) })
    const block = await other.request({ method: 'eth_getBlockByNumber', params: [head.number, false] })
    if (block) same(block.hash, head.hash, `the block of ${rpc}`)
  }
}
connection.socket.close()
console.log(`ok ${seen.length} blocks with ${logs} logs: every method and subscription says the same`)
process.exit(0)
