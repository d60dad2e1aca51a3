// viem, ethers and cast, unmodified, against a running network. Everything that a node says is recomputed with other
// people's code: hashes, roots, blooms, proofs.
//
// usage: node check.mjs DEVNET_JSON
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import path from 'node:path'
import { createMPT, createMPTFromProof } from '@ethereumjs/mpt'
import { RLP } from '@ethereumjs/rlp'
import { JsonRpcProvider, Wallet, Contract, WebSocketProvider } from 'ethers'
import solc from 'solc'
import {
  createPublicClient, createWalletClient, http, webSocket, parseEther, keccak256, hexToBytes, bytesToHex, toHex,
  parseGwei, getContract, pad, numberToHex, BaseError, ContractFunctionRevertedError,
} from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

const here = path.dirname(fileURLToPath(import.meta.url))
const devnet = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const chain = {
  id: devnet.chainId, name: 'devnet', nativeCurrency: { name: 'BitTorrent', symbol: 'BTT', decimals: 18 },
  rpcUrls: { default: { http: [devnet.validators[0].rpc] } },
}
const accounts = devnet.accounts.map(a => privateKeyToAccount(a.privateKey))
const publicClient = createPublicClient({ chain, transport: http(devnet.validators[0].rpc), pollingInterval: 50 })
const wallet = index =>
  createWalletClient({ chain, account: accounts[index], transport: http(devnet.validators[index % devnet.validators.length].rpc) })
const rpc = async (url, method, params = []) => {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const answer = await (await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json()
  if (answer.error) throw Object.assign(new Error(answer.error.message), { rpc: answer.error })
  return answer.result
}
const url = devnet.validators[0].rpc
const done = []
const check = async (name, run) => {
  await run()
  done.push(name)
  console.log(`ok ${name}`)
}
const mined = hash => publicClient.waitForTransactionReceipt({ hash, timeout: 20_000 })

// ---- Ethereum's encodings, from RPC fields, without the node's code ----
const strip = hex => (BigInt(hex) === 0n ? new Uint8Array() : hexToBytes(toHex(BigInt(hex))))
const bytes = hex => hexToBytes(hex)
const list = access => access.map(item => [bytes(item.address), item.storageKeys.map(bytes)])
const encodeTransaction = t => {
  const to = t.to ? bytes(t.to) : new Uint8Array()
  const tail = [strip(t.yParity ?? t.v), strip(t.r), strip(t.s)]
  switch (t.type) {
    case '0x0':
      return RLP.encode([strip(t.nonce), strip(t.gasPrice), strip(t.gas), to, strip(t.value), bytes(t.input), strip(t.v), strip(t.r), strip(t.s)])
    case '0x1':
      return Buffer.concat([[1], RLP.encode([strip(t.chainId), strip(t.nonce), strip(t.gasPrice), strip(t.gas), to, strip(t.value), bytes(t.input), list(t.accessList), ...tail])].map(x => Uint8Array.from(x)))
    case '0x2':
      return Buffer.concat([[2], RLP.encode([strip(t.chainId), strip(t.nonce), strip(t.maxPriorityFeePerGas), strip(t.maxFeePerGas), strip(t.gas), to, strip(t.value), bytes(t.input), list(t.accessList), ...tail])].map(x => Uint8Array.from(x)))
    case '0x4':
      return Buffer.concat([[4], RLP.encode([strip(t.chainId), strip(t.nonce), strip(t.maxPriorityFeePerGas), strip(t.maxFeePerGas), strip(t.gas), to, strip(t.value), bytes(t.input), list(t.accessList),
        t.authorizationList.map(a => [strip(a.chainId), bytes(a.address), strip(a.nonce), strip(a.yParity), strip(a.r), strip(a.s)]), ...tail])].map(x => Uint8Array.from(x)))
    default:
      throw new Error(`unexpected transaction type ${t.type}`)
  }
}
const encodeReceipt = r => {
  const body = RLP.encode([strip(r.status), strip(r.cumulativeGasUsed), bytes(r.logsBloom), r.logs.map(l => [bytes(l.address), l.topics.map(bytes), bytes(l.data)])])
  return r.type === '0x0' ? body : Uint8Array.from([Number(r.type), ...body])
}
const encodeHeader = h => RLP.encode([
  bytes(h.parentHash), bytes(h.sha3Uncles), bytes(h.miner), bytes(h.stateRoot), bytes(h.transactionsRoot), bytes(h.receiptsRoot), bytes(h.logsBloom),
  strip(h.difficulty), strip(h.number), strip(h.gasLimit), strip(h.gasUsed), strip(h.timestamp), bytes(h.extraData), bytes(h.mixHash), bytes(h.nonce),
  strip(h.baseFeePerGas), bytes(h.withdrawalsRoot), strip(h.blobGasUsed), strip(h.excessBlobGas), bytes(h.parentBeaconBlockRoot), bytes(h.requestsHash)])
const trieRoot = async items => {
  const trie = await createMPT()
  for (let i = 0; i < items.length; i++) await trie.put(RLP.encode(i === 0 ? new Uint8Array() : hexToBytes(toHex(i))), items[i])
  return bytesToHex(trie.root())
}
const bloomOf = logs => {
  const bloom = new Uint8Array(256)
  for (const log of logs) {
    for (const item of [log.address, ...log.topics]) {
      const hash = hexToBytes(keccak256(item))
      for (const i of [0, 2, 4]) {
        const bit = ((hash[i] << 8) | hash[i + 1]) & 2047
        bloom[255 - (bit >> 3)] |= 1 << (bit & 7)
      }
    }
  }
  return bytesToHex(bloom)
}

// ---- the checks ----
await check('chain id and sync state', async () => {
  assert.equal(await publicClient.getChainId(), devnet.chainId)
  assert.equal(await rpc(url, 'eth_syncing'), false)
  assert.equal(await rpc(url, 'net_version'), String(devnet.chainId))
})

const target = accounts[9].address
await check('viem: transfer, type 2', async () => {
  const before = await publicClient.getBalance({ address: target })
  const receipt = await mined(await wallet(0).sendTransaction({ to: target, value: parseEther('1') }))
  assert.equal(receipt.status, 'success')
  assert.equal(receipt.type, 'eip1559')
  assert.equal((await publicClient.getBalance({ address: target })) - before, parseEther('1'))
})
await check('viem: legacy and access list, types 0 and 1', async () => {
  const legacy = await mined(await wallet(1).sendTransaction({ to: target, value: 1n, type: 'legacy', gasPrice: parseGwei('2') }))
  assert.equal(legacy.type, 'legacy')
  const accessList = [{ address: target, storageKeys: [pad('0x1')] }]
  const typed = await mined(await wallet(1).sendTransaction({ to: target, value: 1n, type: 'eip2930', accessList, gasPrice: parseGwei('2') }))
  assert.equal(typed.type, 'eip2930')
  const read = await publicClient.getTransaction({ hash: typed.transactionHash })
  assert.deepEqual(read.accessList.map(i => i.storageKeys), accessList.map(i => i.storageKeys))
})

const source = readFileSync(path.join(here, 'Probe.sol'), 'utf8')
const output = JSON.parse(solc.compile(JSON.stringify({
  language: 'Solidity', sources: { 'Probe.sol': { content: source } },
  settings: { evmVersion: 'cancun', optimizer: { enabled: true }, outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } },
})))
assert.ok(!output.errors?.some(e => e.severity === 'error'), JSON.stringify(output.errors))
const { abi, evm } = output.contracts['Probe.sol'].Probe
let probe
await check('viem: deploy, call, logs', async () => {
  const receipt = await mined(await wallet(2).deployContract({ abi, bytecode: `0x${evm.bytecode.object}` }))
  probe = getContract({ address: receipt.contractAddress, abi, client: { public: publicClient, wallet: wallet(2) } })
  const stored = await mined(await probe.write.store([7n, 'final at once']))
  assert.equal(await probe.read.read([7n]), 'final at once')
  const logs = await publicClient.getContractEvents({ address: probe.address, abi, eventName: 'Stored', args: { key: 7n }, fromBlock: stored.blockNumber, toBlock: stored.blockNumber })
  assert.equal(logs.length, 1)
  assert.equal(logs[0].args.text, 'final at once')
  const none = await publicClient.getContractEvents({ address: probe.address, abi, eventName: 'Stored', args: { key: 8n }, fromBlock: 0n })
  assert.equal(none.length, 0)
})
await check('viem: revert reasons', async () => {
  const failure = async run => {
    try { await run() } catch (error) { return error.walk(e => e instanceof ContractFunctionRevertedError) }
    throw new Error('it did not revert')
  }
  assert.equal((await failure(() => probe.read.failWithText())).reason, 'nothing to see here')
  const custom = await failure(() => probe.simulate.failWithError([11n]))
  assert.equal(custom.data.errorName, 'TooLarge')
  assert.deepEqual(custom.data.args, [11n, 10n])
  const raw = await rpc(url, 'eth_call', [{ to: probe.address, data: '0x' + keccak256(toHex('failWithText()')).slice(2, 10) }, 'latest']).catch(e => e.rpc)
  assert.equal(raw.code, 3)
  assert.ok(raw.data.startsWith('0x08c379a0'))
})
await check('viem: set-code, type 4', async () => {
  const client = wallet(3)
  const authorization = await client.signAuthorization({ contractAddress: probe.address, executor: 'self' })
  const receipt = await mined(await client.sendTransaction({ authorizationList: [authorization], to: target, value: 1n }))
  assert.equal(receipt.type, 'eip7702')
  const code = await publicClient.getCode({ address: accounts[3].address })
  assert.equal(code.toLowerCase(), '0xef0100' + probe.address.slice(2).toLowerCase())
})
await check('blobs, type 3, are refused in plain words', async () => {
  const error = await rpc(url, 'eth_sendRawTransaction', ['0x03f8b1']).catch(e => e.rpc)
  assert.match(error.message, /type 3/)
})
await check('overrides', async () => {
  const poor = '0x000000000000000000000000000000000000dEaD'
  const gas = await rpc(url, 'eth_estimateGas', [{ from: poor, to: target, value: '0x1' }, 'latest', { [poor]: { balance: '0xde0b6b3a7640000' } }])
  assert.equal(gas, '0x5208')
  // PUSH1 7 PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN
  const value = await rpc(url, 'eth_call', [{ to: poor }, 'latest', { [poor]: { code: '0x600760005260206000f3' } }])
  assert.equal(BigInt(value), 7n)
  // NUMBER
  const number = await rpc(url, 'eth_call', [{ to: poor }, 'latest', { [poor]: { code: '0x4360005260206000f3' } }, { number: '0x1234' }])
  assert.equal(BigInt(number), 0x1234n)
})
await check('fees, history and access list', async () => {
  const history = await publicClient.getFeeHistory({ blockCount: 5, rewardPercentiles: [10, 50, 90] })
  assert.equal(history.baseFeePerGas.length, history.gasUsedRatio.length + 1)
  assert.ok((await publicClient.getGasPrice()) >= parseGwei('1'))
  const list = await rpc(url, 'eth_createAccessList', [{ from: accounts[0].address, to: probe.address, data: '0x06661abd' }, 'latest'])
  assert.equal(list.accessList[0].address.toLowerCase(), probe.address.toLowerCase())
})
await check('state of the past', async () => {
  const head = await publicClient.getBlockNumber()
  assert.equal(await publicClient.getBalance({ address: target, blockNumber: 0n }), parseEther('100000000'))
  assert.ok((await publicClient.getBalance({ address: target, blockNumber: head })) > parseEther('100000000'))
  assert.equal(await publicClient.getCode({ address: probe.address, blockNumber: 1n }), undefined)
})
await check('eth_getProof against the state root, now and in the past', async () => {
  const slot = pad(numberToHex(1))
  const stored = await mined(await probe.write.store([1n, 'x']))
  for (const blockNumber of [stored.blockNumber - 1n, stored.blockNumber]) {
    const block = await rpc(url, 'eth_getBlockByNumber', [toHex(blockNumber), false])
    const proof = await rpc(url, 'eth_getProof', [probe.address, [slot], toHex(blockNumber)])
    const state = await createMPTFromProof(proof.accountProof.map(bytes), { useKeyHashing: true })
    assert.equal(bytesToHex(state.root()), block.stateRoot)
    const account = RLP.decode(await state.get(bytes(probe.address)))
    assert.equal(bytesToHex(account[2]), proof.storageHash)
    assert.equal(bytesToHex(account[3]), proof.codeHash)
    const storage = await createMPTFromProof(proof.storageProof[0].proof.map(bytes), { useKeyHashing: true })
    assert.equal(bytesToHex(storage.root()), proof.storageHash)
    assert.equal(BigInt(bytesToHex(RLP.decode(await storage.get(bytes(slot))))), BigInt(proof.storageProof[0].value))
    assert.equal(BigInt(proof.storageProof[0].value), blockNumber === stored.blockNumber ? 2n : 1n)
  }
  const nobody = '0x00000000000000000000000000000000000abcde'
  const absent = await rpc(url, 'eth_getProof', [nobody, [], 'latest'])
  const head = await rpc(url, 'eth_getBlockByNumber', ['latest', false])
  void head
  assert.equal(absent.balance, '0x0')
  const trie = await createMPTFromProof(absent.accountProof.map(bytes), { useKeyHashing: true })
  assert.equal(await trie.get(bytes(nobody)), null)
})
await check('ethers: send, contract, WebSocket subscription', async () => {
  // ethers answers a repeated question from its cache for 250 ms; a block here is final sooner.
  const provider = new JsonRpcProvider(devnet.validators[1 % devnet.validators.length].rpc, undefined, { pollingInterval: 50, cacheTimeout: -1 })
  const socket = new WebSocketProvider(devnet.validators[0].ws)
  const seen = new Promise((resolve, reject) => {
    socket.on('block', resolve)
    setTimeout(() => reject(new Error('no block over WebSocket')), 15_000).unref()
  })
  const signer = new Wallet(devnet.accounts[4].privateKey, provider)
  const sent = await signer.sendTransaction({ to: target, value: 5n })
  assert.equal((await sent.wait()).status, 1)
  const contract = new Contract(probe.address, abi, signer)
  await (await contract.store(9n, 'ethers')).wait()
  assert.equal(await contract.read(9n), 'ethers')
  assert.ok((await seen) > 0)
  await socket.destroy()
  provider.destroy()
})
await check('viem: WebSocket heads, logs and pending transactions', async () => {
  const client = createPublicClient({ chain, transport: webSocket(devnet.validators[0].ws) })
  const wait = (what, subscribe) => new Promise((resolve, reject) => {
    const stop = subscribe(value => { stop(); resolve(value) })
    setTimeout(() => reject(new Error(`no ${what}`)), 15_000).unref()
  })
  const heads = wait('head', then => client.watchBlocks({ onBlock: then }))
  const logs = wait('log', then => client.watchContractEvent({ address: probe.address, abi, eventName: 'Stored', onLogs: then }))
  const pending = wait('pending transaction', then => client.watchPendingTransactions({ onTransactions: then }))
  await new Promise(resolve => setTimeout(resolve, 300))
  await mined(await probe.write.store([21n, 'watched']))
  assert.equal((await logs)[0].args.text, 'watched')
  assert.ok((await heads).number > 0n)
  assert.ok((await pending).length > 0)
  ;(await client.transport.getRpcClient()).close()
})
await check('cast: send, call, logs, proof', async () => {
  // The program itself: npm's wrapper around it ends with 0 whatever it says.
  const program = path.join(here, `node_modules/@foundry-rs/cast-${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}/bin/cast`)
  const cast = (...args) => execFileSync(program, args, { encoding: 'utf8', env: { ...process.env, ETH_RPC_URL: url } }).trim()
  const sent = JSON.parse(cast('send', '--json', '--private-key', devnet.accounts[5].privateKey, probe.address, 'store(uint256,string)', '5', 'cast'))
  assert.equal(sent.status, '0x1')
  assert.equal(cast('call', probe.address, 'read(uint256)(string)', '5'), '"cast"')
  assert.equal(JSON.parse(cast('logs', '--json', '--from-block', sent.blockNumber, '--to-block', sent.blockNumber, '--address', probe.address)).length, 1)
  assert.ok(JSON.parse(cast('proof', probe.address)).accountProof.length > 0)
  assert.equal(cast('chain-id'), String(devnet.chainId))
})
await check('errors that wallets look for', async () => {
  const low = await wallet(0).sendTransaction({ to: target, nonce: 0 }).catch(e => e)
  assert.match(low.details ?? low.message, /nonce too low/)
  const poor = privateKeyToAccount('0x' + '77'.repeat(32))
  const client = createWalletClient({ chain, account: poor, transport: http(url) })
  const funds = await client.sendTransaction({ to: target, value: 1n, gas: 21000n, maxFeePerGas: parseGwei('2'), maxPriorityFeePerGas: 0n, nonce: 0 }).catch(e => e)
  assert.ok(funds instanceof BaseError)
  assert.match(funds.details ?? funds.message, /insufficient funds/)
  const unknown = await rpc(url, 'eth_noSuchMethod').catch(e => e.rpc)
  assert.equal(unknown.code, -32601)
})
await check('batches of 100', async () => {
  const body = JSON.stringify(Array.from({ length: 100 }, (_, id) => ({ jsonrpc: '2.0', id, method: 'eth_chainId', params: [] })))
  const answers = await (await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json()
  assert.equal(answers.length, 100)
  assert.ok(answers.every(a => a.result === toHex(devnet.chainId)))
})
await check('every block recomputes, and every node says the same', async () => {
  const head = Math.min(...(await Promise.all(devnet.validators.map(async v => Number(await rpc(v.rpc, 'eth_blockNumber'))))))
  let transactions = 0
  let parent
  for (let number = 0; number <= head; number++) {
    const blocks = await Promise.all(devnet.validators.map(v => rpc(v.rpc, 'eth_getBlockByNumber', [toHex(number), true])))
    for (const other of blocks) assert.deepEqual(other, blocks[0])
    const block = blocks[0]
    assert.equal(keccak256(encodeHeader(block)), block.hash, `hash of block ${number}`)
    if (parent) assert.equal(block.parentHash, parent.hash)
    parent = block
    const receipts = await rpc(url, 'eth_getBlockReceipts', [toHex(number)])
    const encoded = block.transactions.map(encodeTransaction)
    encoded.forEach((e, i) => assert.equal(keccak256(e), block.transactions[i].hash))
    assert.equal(await trieRoot(encoded), block.transactionsRoot, `transactions root of block ${number}`)
    assert.equal(await trieRoot(receipts.map(encodeReceipt)), block.receiptsRoot, `receipts root of block ${number}`)
    assert.equal(bloomOf(receipts.flatMap(r => r.logs)), block.logsBloom, `bloom of block ${number}`)
    receipts.forEach(r => assert.equal(bloomOf(r.logs), r.logsBloom))
    transactions += block.transactions.length
  }
  assert.ok(transactions >= 11, `${transactions} transactions`)
  console.log(`   ${head + 1} blocks, ${transactions} transactions on ${devnet.validators.length} nodes`)
})
console.log(`${done.length} passed, 0 failed`)
process.exit(0)
