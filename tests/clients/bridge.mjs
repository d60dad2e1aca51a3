// Round trips over the bridge from three root chains, with each chain's own library: viem on Ethereum, BNB Chain and BTTC,
// tronweb on TRON. Deposits coin and tokens, sends them on here, withdraws them, and waits for them there. The user does only
// what a user does; validators and a relayer do the rest.
//
//   node bridge.mjs DEVNET.json [--json FILE]
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { createPublicClient, createWalletClient, http, parseAbi, erc20Abi, defineChain } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { TronWeb } from 'tronweb'

const here = path.dirname(fileURLToPath(import.meta.url))
const abi = (name) => JSON.parse(fs.readFileSync(path.join(here, '../../evm/modules/interfaces', `${name}.json`), 'utf8'))
const bridgeAbi = abi('IBridge')
const wrappedAbi = abi('IWrapped')
const gatewayAbi = JSON.parse(fs.readFileSync(path.join(here, '../../bridge/contracts/artifacts/EvmGateway.json'), 'utf8')).abi
export const LEDGER = '0x0000000000000000000000000000000000001001'
export const BTT = '0x0000000000000000000000000000000000001010'
export const NATIVE = '0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE'
const noReturnAbi = parseAbi(['function approve(address,uint256)'])

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
export async function until(what, look, seconds = 240) {
  const end = Date.now() + seconds * 1000
  let last
  for (;;) {
    try {
      const found = await look()
      if (found) return found
    } catch (error) {
      last = error
    }
    if (Date.now() > end) throw new Error(`${what} did not happen within ${seconds} s${last ? `: ${last.shortMessage ?? last.message}` : ''}`)
    await sleep(300)
  }
}

/** BTTC and one root chain each, as a user of three accounts sees them. */
export class World {
  constructor(file) {
    this.devnet = JSON.parse(fs.readFileSync(file, 'utf8'))
    this.keys = this.devnet.accounts.map((account) => account.privateKey)
    this.users = this.keys.map((key) => privateKeyToAccount(key))
    const url = this.devnet.validators[0].rpc
    this.chain = defineChain({ id: this.devnet.chainId, name: 'bttc', nativeCurrency: { name: 'BTT', symbol: 'BTT', decimals: 18 }, rpcUrls: { default: { http: [url] } } })
    this.bttc = createPublicClient({ chain: this.chain, transport: http(url), pollingInterval: 200 })
    this.roots = this.devnet.rootChains.map((root) => (root.name === 'tron' ? new TronRoot(root, this.keys) : new EvmRoot(root, this.users)))
  }

  root(name) {
    return this.roots.find((root) => root.name === name)
  }

  wallet(user) {
    return createWalletClient({ account: this.users[user], chain: this.chain, transport: http(this.devnet.validators[0].rpc) })
  }

  async write(user, request) {
    const hash = await this.wallet(user).writeContract(request)
    const receipt = await this.bttc.waitForTransactionReceipt({ hash, timeout: 60_000 })
    if (receipt.status !== 'success') throw new Error(`${request.functionName} failed in ${hash}`)
    return receipt
  }

  /** Balance of a token here; BTT is the coin. */
  balance(token, user) {
    const account = this.users[user].address
    if (token.native) return this.bttc.getBalance({ address: account })
    return this.bttc.readContract({ address: token.wrapped, abi: wrappedAbi, functionName: 'balanceOf', args: [account] })
  }

  tokens(root) {
    return this.bttc.readContract({ address: LEDGER, abi: bridgeAbi, functionName: 'tokens', args: [BigInt(root.chainId), root.hexGateway] })
  }

  async send(token, from, to, amount) {
    const recipient = this.users[to].address
    if (token.native) {
      const hash = await this.wallet(from).sendTransaction({ to: recipient, value: amount })
      return this.bttc.waitForTransactionReceipt({ hash })
    }
    return this.write(from, { address: token.wrapped, abi: wrappedAbi, functionName: 'transfer', args: [recipient, amount] })
  }

  /** Withdraws to an account of the root chain, by its 20 bytes. */
  withdraw(token, user, amount, recipient, fee = 0n) {
    return this.write(user, { address: LEDGER, abi: bridgeAbi, functionName: 'withdraw', args: [token.native ? BTT : token.wrapped, amount, recipient, fee] })
  }
}

export class EvmRoot {
  constructor(root, users) {
    Object.assign(this, root, { users, hexGateway: root.gateway })
    this.chain = defineChain({ id: root.chainId, name: root.name, nativeCurrency: { name: 'coin', symbol: 'COIN', decimals: 18 }, rpcUrls: { default: { http: [root.rpc] } } })
    this.client = createPublicClient({ chain: this.chain, transport: http(root.rpc), pollingInterval: 300 })
  }

  wallet(user) {
    return createWalletClient({ account: this.users[user], chain: this.chain, transport: http(this.rpc) })
  }

  async write(user, request) {
    await this.client.simulateContract({ account: this.users[user], ...request })
    const hash = await this.wallet(user).writeContract(request)
    const receipt = await this.client.waitForTransactionReceipt({ hash, timeout: 60_000 })
    if (receipt.status !== 'success') throw new Error(`${request.functionName} failed in ${hash}`)
    return hash
  }

  async deposit(token, user, amount, recipient) {
    if (token.root.toLowerCase() === NATIVE.toLowerCase()) {
      return this.write(user, { address: this.gateway, abi: gatewayAbi, functionName: 'depositNative', args: [recipient], value: amount })
    }
    // USDT's approve returns nothing: its own interface is used for it.
    const hash = await this.wallet(user).writeContract({ address: token.root, abi: noReturnAbi, functionName: 'approve', args: [this.gateway, amount] })
    await this.client.waitForTransactionReceipt({ hash })
    return this.write(user, { address: this.gateway, abi: gatewayAbi, functionName: 'deposit', args: [token.root, amount, recipient] })
  }

  balance(token, address) {
    if (token.root.toLowerCase() === NATIVE.toLowerCase()) return this.client.getBalance({ address })
    return this.client.readContract({ address: token.root, abi: erc20Abi, functionName: 'balanceOf', args: [address] })
  }

  /** The transaction that claimed a withdrawal. */
  async claimed(index) {
    const logs = await this.client.getLogs({ address: this.gateway, event: gatewayAbi.find((entry) => entry.name === 'Claimed'), args: { index: BigInt(index) }, fromBlock: 0n })
    return logs[0]?.transactionHash
  }
}

export class TronRoot {
  constructor(root, keys) {
    Object.assign(this, root, { keys })
    this.webs = keys.map((key) => new TronWeb({ fullHost: root.rpc, privateKey: key.slice(2) }))
    this.hexGateway = `0x${TronWeb.address.toHex(root.gateway).slice(2)}`
  }

  /** Sends with tronweb, and waits until it is in a block. */
  async write(user, contract, functionAbi, args, options = {}) {
    const web = this.webs[user]
    const id = await web.contract([functionAbi], contract)[functionAbi.name](...args).send({ feeLimit: 1_000_000_000, ...options })
    const info = await until(`TRON transaction ${id}`, async () => {
      const found = await web.trx.getUnconfirmedTransactionInfo(id)
      return found.id && found
    }, this.patience ?? 60)
    if (info.receipt.result !== 'SUCCESS') throw new Error(`${functionAbi.name} failed on TRON: ${info.receipt.result}`)
    return `0x${id}`
  }

  async deposit(token, user, amount, recipient) {
    const entry = (name) => gatewayAbi.find((item) => item.name === name)
    const to = TronWeb.address.fromHex(`41${recipient.slice(2)}`)
    if (token.symbol.startsWith('TRX')) {
      return this.write(user, this.gateway, entry('depositNative'), [to], { callValue: Number(amount) })
    }
    const approve = { type: 'function', name: 'approve', stateMutability: 'nonpayable', inputs: [{ type: 'address', name: 'a' }, { type: 'uint256', name: 'b' }], outputs: [{ type: 'bool', name: '' }] }
    await this.write(user, token.root, approve, [this.gateway, amount.toString()])
    return this.write(user, this.gateway, entry('deposit'), [token.root, amount.toString(), to])
  }

  async balance(token, address) {
    const account = TronWeb.address.fromHex(`41${address.slice(2)}`)
    if (token.symbol.startsWith('TRX')) return BigInt(await this.webs[0].trx.getUnconfirmedBalance(account))
    const balanceOf = { type: 'function', name: 'balanceOf', stateMutability: 'view', inputs: [{ type: 'address', name: 'a' }], outputs: [{ type: 'uint256', name: '' }] }
    return BigInt(await this.webs[0].contract([balanceOf], token.root).balanceOf(account).call())
  }

  async claimed(index) {
    const topic = (value) => `0x${BigInt(value).toString(16).padStart(64, '0')}`
    const body = { jsonrpc: '2.0', id: 1, method: 'eth_getLogs', params: [{ address: this.hexGateway, topics: [null, null, topic(index)].map((entry) => entry ?? []), fromBlock: '0x0', toBlock: 'latest' }] }
    const answer = await (await fetch(`${this.rpc}/jsonrpc`, { method: 'POST', body: JSON.stringify(body) })).json()
    return answer.result?.at(-1)?.transactionHash
  }
}

/** What a user sends: small enough for every account. */
const amountOf = (token) => 3n * 10n ** BigInt(token.decimals)

async function main() {
  const file = process.argv[2]
  const out = process.argv.includes('--json') ? process.argv[process.argv.indexOf('--json') + 1] : null
  const world = new World(file)
  const began = Date.now()
  const say = (text) => console.log(`[${((Date.now() - began) / 1000).toFixed(0).padStart(3)} s] ${text}`)
  const wanted = (token) => /^(ETH|BNB|TRX|TEST|USDT|BTT)/.test(token.symbol)
  const trips = world.roots.flatMap((root) => root.tokens.filter(wanted).map((token) => ({ root, token })))
  const depositor = 0
  const holder = 1
  const receiver = world.users[5].address
  for (const root of world.roots) {
    const mapped = async () => {
      const watched = await world.bttc.request({ method: 'bttc_rootChains' })
      const entry = watched.find((chain) => Number(chain.rootChainId) === root.chainId)
      return entry.watched && Number(entry.watched.commandsDone) >= root.tokens.length
    }
    await until(`mapping of tokens on ${root.name}`, mapped)
  }
  say('tokens are mapped at all gateways')
  // One root chain after the other would wait for each: chains run beside each other, transfers of a chain in order.
  const perRoot = (work) => Promise.all(world.roots.map(async (root) => {
    for (const trip of trips.filter((entry) => entry.root === root)) await work(trip)
  }))
  for (const trip of trips) {
    trip.amount = amountOf(trip.token)
    trip.before = await world.balance(trip.token, depositor)
    trip.rootBefore = await trip.root.balance(trip.token, receiver)
  }
  await perRoot(async (trip) => {
    trip.depositTx = await trip.root.deposit(trip.token, depositor, trip.amount, world.users[depositor].address)
    say(`${trip.root.name}: deposited ${trip.token.symbol} in ${trip.depositTx.slice(0, 12)}…`)
  })
  await Promise.all(trips.map(async (trip) => {
    await until(`credit of ${trip.token.symbol}`, async () => (await world.balance(trip.token, depositor)) >= trip.before + trip.amount)
    say(`BTTC: credited ${trip.token.symbol}`)
  }))
  for (const trip of trips) {
    const held = await world.balance(trip.token, holder)
    await world.send(trip.token, depositor, holder, trip.amount)
    if ((await world.balance(trip.token, holder)) !== held + trip.amount) throw new Error(`${trip.token.symbol} did not arrive at the holder`)
  }
  say('BTTC: sent everything on to another account')
  for (const trip of trips) {
    const receipt = await world.withdraw(trip.token, holder, trip.amount, receiver)
    trip.withdrawTx = receipt.transactionHash
    const log = receipt.logs.find((entry) => entry.address.toLowerCase() === LEDGER)
    trip.index = Number(BigInt(log.topics[3]))
  }
  say('BTTC: withdrew everything; a checkpoint follows')
  await Promise.all(trips.map(async (trip) => {
    await until(`payout of ${trip.token.symbol} on ${trip.root.name}`, async () => (await trip.root.balance(trip.token, receiver)) === trip.rootBefore + trip.amount)
    trip.claimTx = await trip.root.claimed(trip.index)
    say(`${trip.root.name}: received ${trip.token.symbol}`)
  }))
  let even = true
  for (const root of world.roots) {
    for (const token of await world.tokens(root)) even &&= token.locked === token.minted + token.parked
  }
  if (!even) throw new Error('locked is not minted + parked')
  const list = trips.map((trip) => ({
    rootChain: trip.root.name, token: trip.token.symbol, amount: trip.amount.toString(), index: trip.index,
    depositTransaction: trip.depositTx, withdrawTransaction: trip.withdrawTx, claimTransaction: trip.claimTx,
  }))
  if (out) fs.writeFileSync(out, `${JSON.stringify({ transfers: list, seconds: (Date.now() - began) / 1000 }, null, 2)}\n`)
  const names = [...new Set(trips.map((trip) => trip.token.symbol))].join(', ')
  console.log(`crossed both ways: ${names} (${trips.length} round trips in ${((Date.now() - began) / 1000).toFixed(0)} s); locked = minted + parked for every token`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().then(() => process.exit(0), (error) => {
    console.error(error.shortMessage ?? error.message ?? error)
    if (process.env.DEBUG) console.error(error)
    process.exit(1)
  })
}
