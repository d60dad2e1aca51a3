// Traces, polled filters and simulations on a network of four, each compared with what other methods say of the same.
//
//   node traces.mjs DEVNET.json
import { createRequire } from 'node:module'
import fs from 'node:fs'
import { createPublicClient, createWalletClient, defineChain, encodeFunctionData, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import WebSocket from 'ws'

const devnet = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const url = devnet.validators[0].rpc
const chain = defineChain({ id: devnet.chainId, name: 'bttc', nativeCurrency: { name: 'BTT', symbol: 'BTT', decimals: 18 }, rpcUrls: { default: { http: [url] } } })
const account = privateKeyToAccount(devnet.accounts[0].privateKey)
const client = createPublicClient({ chain, transport: http(url), pollingInterval: 100 })
const wallet = createWalletClient({ account, chain, transport: http(url) })
const ask = (method, ...params) => client.request({ method, params })
const BTT = '0x0000000000000000000000000000000000001010'
const assert = (condition, words) => {
  if (!condition) throw new Error(words)
}
const shown = (value) => JSON.stringify(value, (_, entry) => (typeof entry === 'bigint' ? hex(entry) : entry))
const same = (got, wanted, words) => assert(shown(got) === shown(wanted), `${words}: ${shown(got)}, expected ${shown(wanted)}`)
const ok = (words) => console.log(`ok ${words}`)
const hex = (number) => `0x${BigInt(number).toString(16)}`
const fails = async (words, promise) => {
  try {
    await promise
  } catch (error) {
    const text = `${error.details ?? ''} ${error.message}`
    assert(text.includes(words), `failed with ${text}, expected ${words}`)
    return
  }
  throw new Error(`succeeded, expected ${words}`)
}

function compile() {
  const solc = createRequire(import.meta.url)('solc')
  const source = `// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;
contract Inner { uint256 public stored; function set(uint256 v) external payable { stored = v; } function no() external pure { revert("not today"); } }
contract Outer {
  event Done(uint256 indexed value);
  uint256 public stored;
  Inner public inner = new Inner();
  function nested(uint256 v) external payable { stored = v; inner.set{value: msg.value}(v + 1); emit Done(v); }
  function caught() external { try inner.no() { revert(); } catch { stored = 7; } }
  function fail() external view { inner.no(); }
  function spin(uint256 n) external { uint256 x; for (uint256 i; i < n; ++i) x ^= i; stored = x; }
  function coins(address btt, address to, uint256 amount) external payable { (bool done,) = btt.call(abi.encodeWithSignature("transfer(address,uint256)", to, amount)); require(done, "coins"); }
}`
  const input = { language: 'Solidity', sources: { 'T.sol': { content: source } }, settings: { outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } } }
  const { abi, evm } = JSON.parse(solc.compile(JSON.stringify(input))).contracts['T.sol'].Outer
  return { abi, bytecode: `0x${evm.bytecode.object}` }
}

async function send(request) {
  const hash = await wallet.sendTransaction({ gas: 3_000_000n, ...request })
  return client.waitForTransactionReceipt({ hash })
}

async function callTraces(outer, abi, receipts) {
  const { nested, caught, fail, coins } = receipts
  const trace = (receipt, config) => ask('debug_traceTransaction', receipt.transactionHash, { tracer: 'callTracer', tracerConfig: config })
  const top = await trace(nested, { withLog: true })
  const transaction = await client.getTransaction({ hash: nested.transactionHash })
  same([top.type, top.from, top.to, top.input, top.value, top.gas, top.gasUsed], ['CALL', account.address.toLowerCase(), outer.toLowerCase(), transaction.input, hex(5), hex(transaction.gas), hex(nested.gasUsed)], 'the call')
  same([top.calls.length, top.calls[0].type, top.calls[0].value, top.logs.length, top.logs[0].topics], [1, 'CALL', hex(5), 1, nested.logs[0].topics], 'what it called and logged')
  const failed = await trace(fail)
  same([failed.error, failed.revertReason, failed.calls[0].error, failed.gasUsed], ['execution reverted', 'not today', 'execution reverted', hex(fail.gasUsed)], 'a revert')
  const kept = await trace(caught)
  assert(!kept.error && kept.calls[0].error === 'execution reverted', 'a revert that was caught')
  const flat = await trace(nested, { onlyTopCall: true })
  assert(!flat.calls, 'only the top call')
  const native = await trace(coins)
  same([native.calls.length, native.calls[0].to, native.calls[0].type], [1, BTT, 'CALL'], 'a call into a native module')
  assert(BigInt(native.calls[0].gasUsed) > 0n && BigInt(native.calls[0].output) === 1n, 'the module used gas and answered')
  const parity = await ask('trace_transaction', nested.transactionHash)
  same(parity.map((entry) => entry.traceAddress), [[], [0]], 'trace addresses')
  // Parity's gas is what is left when the transaction itself is paid for.
  assert(BigInt(parity[0].action.gas) < transaction.gas, 'gas of the first frame')
  same([parity[1].action.to, parity[0].transactionHash, parity[0].blockNumber, parity[0].subtraces], [top.calls[0].to, nested.transactionHash, Number(nested.blockNumber), 1], "Parity's form")
  same(await ask('trace_get', nested.transactionHash, ['0x0']), parity[1], 'one trace by its address')
  ok('calls, reverts, logs and native modules in call traces')
}

async function stateTraces(outer, receipts) {
  const { nested } = receipts
  const before = hex(nested.blockNumber - 1n)
  const pre = await ask('debug_traceTransaction', nested.transactionHash, { tracer: 'prestateTracer' })
  const sender = account.address.toLowerCase()
  same(BigInt(pre[sender].balance), BigInt(await ask('eth_getBalance', sender, before)), 'the balance before')
  same(BigInt(pre[sender].nonce ?? 0), BigInt(await ask('eth_getTransactionCount', sender, before)), 'the nonce before')
  const diff = await ask('debug_traceTransaction', nested.transactionHash, { tracer: 'prestateTracer', tracerConfig: { diffMode: true } })
  const slot = `0x${'0'.repeat(64)}`
  same(diff.post[outer.toLowerCase()].storage[slot], await ask('eth_getStorageAt', outer, slot, hex(nested.blockNumber)), 'the slot afterwards')
  const replay = await ask('trace_replayTransaction', nested.transactionHash, ['trace', 'stateDiff', 'vmTrace'])
  same(replay.stateDiff[outer.toLowerCase()].storage[slot]['*'].to, diff.post[outer.toLowerCase()].storage[slot], 'the slot in a state diff')
  assert(replay.vmTrace.ops.length > 50 && replay.trace.length === 2, 'instructions and calls of a replay')
  ok('states before and after in prestate traces and state diffs')
}

async function otherTracers(receipts) {
  const { nested, fail } = receipts
  const of = (receipt, options) => ask('debug_traceTransaction', receipt.transactionHash, options)
  const steps = await of(nested, {})
  same([steps.gas, steps.failed], [Number(nested.gasUsed), false], 'gas of a struct log')
  const last = steps.structLogs.at(-1)
  assert(steps.structLogs.some((step) => step.op === 'SSTORE' && step.depth === 2) && last.op === 'STOP' && last.depth === 1, 'instructions')
  assert((await of(fail, {})).failed === true, 'a failed struct log')
  assert(Object.keys(await of(nested, { tracer: '4byteTracer' })).length === 2, 'selectors')
  same(await of(nested, { tracer: 'noopTracer' }), {}, 'the tracer of nothing')
  const mux = await of(nested, { tracer: 'muxTracer', tracerConfig: { callTracer: {}, prestateTracer: {} } })
  same(mux.callTracer, await of(nested, { tracer: 'callTracer' }), 'a tracer within mux')
  assert((await of(nested, { tracer: 'flatCallTracer' })).length === 2, 'flat calls')
  await fails('tracer', of(nested, { tracer: 'noSuchTracer' }))
  await fails('transaction not found', ask('debug_traceTransaction', `0x${'11'.repeat(32)}`, {}))
  const several = await of(nested, { tracer: 'muxTracer', tracerConfig: { callTracer: null, noopTracer: {}, '4byteTracer': {} } })
  same([several.callTracer.type, several.noopTracer], ['CALL', {}], 'tracers without a configuration')
  // Failures have geth's names: an endless loop of pushes, one of memory, an instruction that is none.
  for (const [code, words] of [['0x5b5f5f56', /^stack limit reached 1024 \(1023\)$/], ['0x63ffffffff5e', /^stack underflow$/], [`0x5f7f${'ff'.repeat(32)}52`, /^gas uint64 overflow$/], ['0x5f630fffffff52', /^out of gas$/], ['0x0c', /^invalid opcode/], ['0x600456', /^invalid jump destination$/]]) {
    const call = { from: account.address, to: '0x00000000000000000000000000000000000000aa', gas: hex(100_000) }
    const options = { stateOverrides: { [call.to]: { code } } }
    const logs = await ask('debug_traceCall', call, 'latest', { ...options, disableStack: true })
    assert(words.test(logs.structLogs.at(-1).error), `${code} failed with ${logs.structLogs.at(-1).error}`)
    const frame = await ask('debug_traceCall', call, 'latest', { ...options, tracer: 'callTracer' })
    assert(words.test(frame.error), `${code}: the call failed with ${frame.error}`)
  }
  ok('struct logs, selectors, mux and flat calls')
}

async function blocks(receipts) {
  const { nested } = receipts
  const number = hex(nested.blockNumber)
  const all = await ask('debug_traceBlockByNumber', number, { tracer: 'callTracer' })
  same(all, await ask('debug_traceBlockByHash', nested.blockHash, { tracer: 'callTracer' }), 'a block by hash')
  const one = await ask('debug_traceTransaction', nested.transactionHash, { tracer: 'callTracer' })
  same(all.find((entry) => entry.txHash === nested.transactionHash).result, one, 'a transaction in its block')
  const traces = await ask('trace_block', number)
  same(traces, await ask('trace_filter', { fromBlock: number, toBlock: number }), 'a filter over one block')
  const from = await ask('trace_filter', { fromBlock: number, toBlock: number, toAddress: [nested.to] })
  assert(from.length && from.every((entry) => entry.action.to === nested.to.toLowerCase()), 'a filter by recipient')
  same((await ask('trace_replayBlockTransactions', number, ['trace'])).length, all.length, 'a replayed block')
  await fails('genesis is not traceable', ask('debug_traceBlockByNumber', '0x0', {}))
  ok('whole blocks, and filters over them')
}

async function calls(outer, abi) {
  const data = encodeFunctionData({ abi, functionName: 'nested', args: [99n] })
  const request = { from: account.address, to: outer, data, value: '0x1' }
  const traced = await ask('debug_traceCall', request, 'latest', { tracer: 'callTracer' })
  assert(traced.calls.length === 1 && !traced.error, 'a traced call')
  const overridden = await ask('debug_traceCall', { ...request, from: `0x${'ab'.repeat(20)}` }, 'latest', { tracer: 'callTracer', stateOverrides: { [`0x${'ab'.repeat(20)}`]: { balance: '0xde0b6b3a7640000' } } })
  assert(!overridden.error, 'a traced call with a balance that is not there')
  const many = await ask('trace_callMany', [[request, ['trace']], [{ from: account.address, to: outer, data: encodeFunctionData({ abi, functionName: 'stored' }) }, ['trace']]], 'latest')
  same(BigInt(many[1].output), 99n, 'the second call sees what the first did')
  same((await ask('trace_call', request, ['trace'], 'latest')).trace.length, 2, 'one call')
  const spin = { from: account.address, to: outer, data: encodeFunctionData({ abi, functionName: 'spin', args: [10_000_000n] }), gas: hex(45_000_000) }
  await fails('too many steps', ask('debug_traceCall', spin, 'latest', {}))
  ok('calls under a tracer, within a budget')
}

async function simulations(outer, abi) {
  const data = (functionName, args = []) => encodeFunctionData({ abi, functionName, args })
  const head = await client.getBlock()
  const call = (functionName, args, extra = {}) => ({ from: account.address, to: outer, data: data(functionName, args), ...extra })
  const result = await ask('eth_simulateV1', {
    blockStateCalls: [
      { calls: [call('nested', [41n], { value: '0x5' }), call('fail', [])] },
      { blockOverrides: { number: hex(head.number + 5n) }, calls: [call('stored', [])] },
    ],
    traceTransfers: true,
  }, hex(head.number))
  same(result.map((block) => Number(BigInt(block.number) - head.number)), [1, 2, 3, 4, 5], 'numbers, those left out filled in')
  same(result[0].parentHash, head.hash, 'the first block follows the head')
  for (let at = 1; at < result.length; at++) same(result[at].parentHash, result[at - 1].hash, 'each block follows the one before')
  const [done, failed] = result[0].calls
  same([done.status, failed.status, failed.error.code, BigInt(result.at(-1).calls[0].returnData)].map(String), ['0x1', '0x0', '3', '41'], 'results')
  assert(done.logs.filter((log) => log.address === '0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee').length === 2, 'coins on the move are logged')
  assert(result[0].stateRoot !== head.stateRoot && result[0].stateRoot !== result.at(-1).stateRoot, 'state roots move with the state')
  await fails('block numbers must be in order', ask('eth_simulateV1', { blockStateCalls: [{ blockOverrides: { number: '0x1' } }] }, 'latest'))
  await fails('insufficient funds', ask('eth_simulateV1', { blockStateCalls: [{ calls: [{ from: `0x${'cd'.repeat(20)}`, to: outer, value: '0x1' }] }] }, 'latest'))
  ok('simulated blocks')
}

async function filters(outer, abi) {
  const logs = await ask('eth_newFilter', { address: outer })
  const blocks = await ask('eth_newBlockFilter')
  const pending = await ask('eth_newPendingTransactionFilter')
  const receipt = await send({ to: outer, data: encodeFunctionData({ abi, functionName: 'nested', args: [3n] }) })
  const found = await ask('eth_getFilterChanges', logs)
  same(found.map((log) => log.transactionHash), [receipt.transactionHash], 'new logs')
  same(await ask('eth_getFilterChanges', logs), [], 'told once')
  const all = await ask('eth_getFilterLogs', logs)
  assert((await ask('eth_getFilterChanges', blocks)).includes(receipt.blockHash), 'new blocks')
  assert((await ask('eth_getFilterChanges', pending)).includes(receipt.transactionHash), 'new pending transactions')
  assert(Array.isArray(all), 'all logs of a filter')
  for (const id of [logs, blocks, pending]) same(await ask('eth_uninstallFilter', id), true, 'a filter that is removed')
  same(await ask('eth_uninstallFilter', logs), false, 'a filter that is gone')
  await fails('filter not found', ask('eth_getFilterChanges', logs))
  ok('polled filters')
}

/** A subscriber to receipts and one to the state of syncing; who hears of a head can ask for its receipts at once. */
async function subscriptions(outer, abi) {
  const socket = new WebSocket(devnet.validators[0].ws)
  await new Promise((open) => socket.on('open', open))
  const heard = []
  const ids = {}
  let refused
  socket.on('message', (data) => {
    const message = JSON.parse(data)
    if (message.error) refused = message.error
    else if (message.id !== undefined) ids[message.result] = message.id
    else heard.push({ kind: ids[message.params.subscription], result: message.params.result })
  })
  const subscribe = (kind, ...options) => socket.send(JSON.stringify({ jsonrpc: '2.0', id: kind, method: 'eth_subscribe', params: [kind, ...options] }))
  subscribe('transactionReceipts')
  subscribe('syncing')
  subscribe('newHeads')
  for (let tries = 0; Object.keys(ids).length < 3; tries++) {
    assert(!refused && tries < 500, `a subscription was refused: ${JSON.stringify(refused)}`)
    await new Promise((done) => setTimeout(done, 20))
  }
  const receipt = await send({ to: outer, data: encodeFunctionData({ abi, functionName: 'nested', args: [8n] }) })
  const of = (kind) => heard.filter((entry) => entry.kind === kind).map((entry) => entry.result)
  const end = Date.now() + 10_000
  while (Date.now() < end && !(of('transactionReceipts').length && of('syncing').length)) await new Promise((done) => setTimeout(done, 50))
  same(of('syncing'), [false], 'a node that has everything')
  const told = of('transactionReceipts').flat().find((entry) => entry.transactionHash === receipt.transactionHash)
  same(told, await ask('eth_getTransactionReceipt', receipt.transactionHash), 'a receipt that was told')
  assert(of('newHeads').some((head) => head.hash === receipt.blockHash), 'its head was told too')
  socket.close()
  ok('subscriptions to receipts and syncing')
}

async function main() {
  const { abi, bytecode } = compile()
  const deployed = await client.waitForTransactionReceipt({ hash: await wallet.deployContract({ abi, bytecode }) })
  const outer = deployed.contractAddress
  const to = (functionName, args, extra = {}) => ({ to: outer, data: encodeFunctionData({ abi, functionName, args }), ...extra })
  const receipts = {
    nested: await send(to('nested', [42n], { value: 5n })),
    caught: await send(to('caught', [])),
    fail: await send(to('fail', [])),
    coins: await send(to('coins', [BTT, `0x${'77'.repeat(20)}`, 9n], { value: 9n })),
  }
  assert(receipts.coins.status === 'success' && receipts.fail.status === 'reverted', 'set-up')
  await callTraces(outer, abi, receipts)
  await stateTraces(outer, receipts)
  await otherTracers(receipts)
  await blocks(receipts)
  await calls(outer, abi)
  await simulations(outer, abi)
  await filters(outer, abi)
  await subscriptions(outer, abi)
}

main().then(() => process.exit(0), (error) => {
  console.error(error.shortMessage ?? error.message ?? error)
  if (process.env.DEBUG) console.error(error)
  process.exit(1)
})
