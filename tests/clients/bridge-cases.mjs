// What goes wrong on the bridge, and what must happen then: a token that takes a fee, recipients that cannot receive, a
// thousand deposits in one block, fees for claimers, large amounts.
//
//   node bridge-cases.mjs DEVNET.json
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import fs from 'node:fs'
import path from 'node:path'
import { parseAbi } from 'viem'
import WebSocket from 'ws'
import { LEDGER, World, until } from './bridge.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const bridgeAbi = JSON.parse(fs.readFileSync(path.join(here, '../../evm/modules/interfaces/IBridge.json'), 'utf8'))
const gatewayAbi = JSON.parse(fs.readFileSync(path.join(here, '../../bridge/contracts/artifacts/EvmGateway.json'), 'utf8')).abi
const assert = (condition, words) => {
  if (!condition) throw new Error(words)
}
const ok = (words) => console.log(`ok ${words}`)

/** A contract that deposits so many times in one transaction. */
function batcher() {
  const solc = createRequire(import.meta.url)('solc')
  const source = `// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;
interface T { function approve(address s, uint256 v) external; function transferFrom(address f, address t, uint256 v) external; }
interface G { function deposit(address t, uint256 a, address r) external; }
contract Batcher {
  function run(G g, T t, uint256 n, address r) external {
    t.transferFrom(msg.sender, address(this), n);
    t.approve(address(g), 0);
    t.approve(address(g), n);
    for (uint256 i; i < n; ++i) g.deposit(address(t), 1, r);
  }
}`
  const input = { language: 'Solidity', sources: { 'B.sol': { content: source } }, settings: { outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } } }
  const output = JSON.parse(solc.compile(JSON.stringify(input)))
  const contract = output.contracts['B.sol'].Batcher
  return { abi: contract.abi, bytecode: `0x${contract.evm.bytecode.object}` }
}

async function feeToken(world, root) {
  const token = root.tokens.find((entry) => entry.symbol.startsWith('FEE'))
  let words = ''
  try {
    await root.deposit(token, 0, 10n ** 18n, world.users[0].address)
  } catch (error) {
    words = `${error.message} ${error.cause?.data?.errorName ?? ''}`
  }
  assert(words.includes('FeeOnTransfer'), `a token with a fee was not refused by name: ${words}`)
  ok('a token that takes a fee is refused by name')
}

async function parkedAndReturned(world, root) {
  const token = root.tokens.find((entry) => entry.symbol.startsWith('TEST'))
  const amount = 5n * 10n ** 18n
  const before = await world.balance(token, 2)
  const count = Number((await root.client.readContract({ address: root.gateway, abi: gatewayAbi, functionName: 'counters' }))[0])
  await root.deposit(token, 0, amount, '0x0000000000000000000000000000000000001000')
  await root.deposit(token, 0, amount, world.users[2].address)
  await until('the credit behind a parked one', async () => (await world.balance(token, 2)) === before + amount)
  const args = [BigInt(root.chainId), root.gateway, BigInt(count + 1)]
  const parked = await world.bttc.readContract({ address: LEDGER, abi: bridgeAbi, functionName: 'parked', args })
  assert(parked.amount === amount && parked.returnable, 'the deposit to a module is not parked')
  const status = await world.bttc.request({ method: 'bttc_depositStatus', params: [`0x${root.chainId.toString(16)}`, root.gateway, `0x${(count + 1).toString(16)}`] })
  assert(status.status === 'parked', `its status is ${status.status}`)
  ok('a recipient that cannot receive is parked, and the next deposit goes through')
  const home = await root.balance(token, world.users[0].address)
  await world.write(3, { address: LEDGER, abi: bridgeAbi, functionName: 'returnParked', args })
  await until('the return of a parked deposit', async () => (await root.balance(token, world.users[0].address)) === home + amount)
  ok('it goes back to whoever deposited it')
}

/** An estimate of a withdrawal's gas holds, whoever withdraws before it runs: five with the gas of the first. */
async function estimatesHold(world, root) {
  const token = root.tokens.find((entry) => entry.symbol.startsWith('TEST'))
  const request = { address: LEDGER, abi: bridgeAbi, functionName: 'withdraw', args: [token.wrapped, 10n ** 17n, world.users[2].address, 0n] }
  const gas = await world.bttc.estimateContractGas({ account: world.users[2], ...request })
  const used = new Set()
  for (let count = 0; count < 5; count++) used.add((await world.write(2, { ...request, gas })).gasUsed)
  assert(used.size === 1, `equal withdrawals used ${[...used].join(', ')} gas`)
  ok('an estimate of a withdrawal holds, whoever withdraws before it')
}

async function thousand(world, root) {
  const token = root.tokens.find((entry) => entry.symbol.startsWith('USDT'))
  const { abi, bytecode } = batcher()
  const wallet = root.wallet(0)
  const made = await root.client.waitForTransactionReceipt({ hash: await wallet.deployContract({ abi, bytecode }) })
  const erc20 = parseAbi(['function approve(address,uint256)', 'function allowance(address,address) view returns (uint256)'])
  for (const value of [0n, 1000n]) {
    await root.client.waitForTransactionReceipt({ hash: await wallet.writeContract({ address: token.root, abi: erc20, functionName: 'approve', args: [made.contractAddress, value] }) })
  }
  const before = await world.balance(token, 4)
  // All in one block: none is made while they are sent.
  const nonce = await root.client.getTransactionCount({ address: world.users[0].address })
  await root.client.request({ method: 'evm_setIntervalMining', params: [0] })
  const hashes = []
  for (let index = 0; index < 4; index++) {
    hashes.push(await wallet.writeContract({ address: made.contractAddress, abi, functionName: 'run', args: [root.gateway, token.root, 250n, world.users[4].address], gas: 14_000_000n, nonce: nonce + index }))
  }
  await root.client.request({ method: 'evm_mine', params: [] })
  await root.client.request({ method: 'evm_setIntervalMining', params: [1] })
  const blocks = new Set()
  for (const hash of hashes) {
    const receipt = await root.client.waitForTransactionReceipt({ hash })
    assert(receipt.status === 'success', 'a batch of deposits failed')
    blocks.add(receipt.blockNumber)
  }
  assert(blocks.size === 1, `the deposits are in ${blocks.size} blocks`)
  await root.deposit(token, 0, 7n, world.users[6].address)
  await until('1,000 credits', async () => (await world.balance(token, 4)) === before + 1000n)
  await until('the one behind them', async () => (await world.balance(token, 6)) >= 7n)
  ok('1,000 one-unit deposits in one root block cross, and the one behind them')
}

async function claimFee(world, root) {
  const token = root.tokens.find((entry) => entry.symbol.startsWith('TEST'))
  const relayer = world.users[8].address
  const amount = 2n * 10n ** 18n
  const fee = 10n ** 15n
  const [held, paid] = [await root.balance(token, world.users[7].address), await root.balance(token, relayer)]
  const had = await world.balance(token, 0)
  await root.deposit(token, 0, amount, world.users[0].address)
  await until('credit', async () => (await world.balance(token, 0)) === had + amount)
  await world.withdraw(token, 0, amount, world.users[7].address, fee)
  await until('payout', async () => (await root.balance(token, world.users[7].address)) === held + amount - fee)
  assert((await root.balance(token, relayer)) === paid + fee, 'the relayer did not get its fee')
  ok('who brings the claim gets the fee in it')
}

/** A gateway that has lost something: an alarm at every relayer, and whoever wants to can make it whole. */
async function reserves(world, root) {
  const token = root.tokens.find((entry) => entry.symbol.startsWith('ETH'))
  const had = await world.balance(token, 0)
  await root.deposit(token, 0, 1000n, world.users[0].address)
  await until('credit', async () => (await world.balance(token, 0)) === had + 1000n)
  const held = await root.client.getBalance({ address: root.gateway })
  await root.client.request({ method: 'anvil_setBalance', params: [root.gateway, '0x0'] })
  const ops = fs.readFileSync(path.join(world.devnet.relayer.home, 'data', 'relayer.ops'), 'utf8').trim()
  const alarms = async () => (await (await fetch(`http://${ops}/status`)).json()).lanes.ethereum.alarms
  await until('alarm about what is missing', async () => (await alarms()).some((alarm) => alarm.includes(token.symbol)))
  await root.write(1, { address: root.gateway, abi: gatewayAbi, functionName: 'fund', args: [token.root, held], value: held })
  await until('end of the alarm', async () => !(await alarms()).length)
  ok('a gateway that lacks something is an alarm, until it is funded')
}

/** What `bttc_subscribe` tells while everything else happens. */
async function listen(world) {
  const socket = new WebSocket(world.devnet.validators[0].ws ?? world.devnet.validators[0].rpc.replace('http', 'ws'))
  await new Promise((open, fail) => Object.assign(socket, { onopen: open, onerror: () => fail(new Error('no WebSocket')) }))
  const kinds = ['finalized', 'attestations', 'checkpoints']
  const heard = Object.fromEntries(kinds.map((kind) => [kind, []]))
  const ids = {}
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data)
    if (message.id !== undefined) ids[message.result] = kinds[message.id]
    else heard[ids[message.params.subscription]].push(message.params.result)
  }
  kinds.forEach((kind, id) => socket.send(JSON.stringify({ jsonrpc: '2.0', id, method: 'bttc_subscribe', params: [kind] })))
  await until('subscriptions', () => Object.keys(ids).length === kinds.length)
  return heard
}

function heardRight(heard) {
  const { finalized, attestations, checkpoints } = heard
  const heights = finalized.map((block) => Number(block.number))
  assert(heights.every((height, at) => at === 0 || height === heights[at - 1] + 1), 'final blocks were left out')
  assert(finalized.every((block) => block.certificate?.blockHash === block.hash && block.certificate.signatures.length >= 3), 'a final block has no certificate')
  const named = attestations.map((vote) => [vote.kind, vote.rootChainId, vote.gateway, vote.toNonce, vote.seq, vote.commandNonce, vote.signer].join())
  assert(new Set(named).size === named.length, 'an attestation came twice')
  assert(new Set(attestations.map((vote) => vote.kind)).size >= 2, 'there were no attestations of deposits and checkpoints')
  const certified = checkpoints.filter((checkpoint) => checkpoint.signatures)
  assert(certified.length && checkpoints.some((checkpoint) => !checkpoint.signatures), 'checkpoints come when they are made and when they are certified')
  ok(`subscribers heard ${finalized.length} final blocks, ${attestations.length} attestations, ${certified.length} certified checkpoints`)
}

async function main() {
  const world = new World(process.argv[2])
  const heard = await listen(world)
  const root = world.root('ethereum')
  await until('mapping', async () => {
    const chains = await world.bttc.request({ method: 'bttc_rootChains' })
    return Number(chains.find((chain) => chain.name === 'ethereum').watched.commandsDone) >= root.tokens.length
  })
  await feeToken(world, root)
  await parkedAndReturned(world, root)
  await estimatesHold(world, root)
  await thousand(world, root)
  await claimFee(world, root)
  await reserves(world, root)
  heardRight(heard)
  for (const each of world.roots) {
    for (const token of await world.tokens(each)) assert(token.locked === token.minted + token.parked, 'locked is not minted + parked')
  }
  ok('locked = minted + parked')
}

main().then(() => process.exit(0), (error) => {
  console.error(error.shortMessage ?? error.message ?? error)
  if (process.env.DEBUG) console.error(error)
  process.exit(1)
})
