// What goes wrong on the bridge, and what must happen then: a token that takes a fee, recipients that cannot receive, a
// thousand deposits in one block, fees for claimers, large amounts.
//
//   node bridge-cases.mjs DEVNET.json
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import fs from 'node:fs'
import path from 'node:path'
import { parseAbi } from 'viem'
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

async function main() {
  const world = new World(process.argv[2])
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
