// Contracts that many chains have at the same address, here part of the genesis block. Their canonical init codes run on
// anvil, as they ran on other chains; what they leave there must be what the node has. Then each is used.
//
//   node predeploys.mjs DEVNET.json
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { BaseError, ContractFunctionRevertedError, createPublicClient, createWalletClient, defineChain, http, parseAbi, parseEventLogs, maxUint256 } from 'viem'
import { concat, domainSeparator, encodeDeployData, encodeFunctionData, getAddress, getCreate2Address, keccak256, recoverTransactionAddress, serializeTransaction } from 'viem'
import { entryPoint07Abi, getUserOperationHash, toPackedUserOperation } from 'viem/account-abstraction'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'

const require = createRequire(import.meta.url)
const at = (file) => fileURLToPath(new URL(file, import.meta.url))
const DEPLOYER = '0x4e59b44847b379578588920cA78FbF26c0B4956C'
const MULTICALL = '0xcA11bde05977b3631167028862bE2a173976CA11'
const ENTRY_POINT = '0x0000000071727De22E5E9d8BAf0edAc6f37da032'
const PERMIT2 = '0x000000000022D473030F116dDEE9F6B43aC78BA3'
const WBTT = '0x23181F21DEa5936e24163FFABa4Ea3B316B57f3C'
const artifact = (name) => require(`@account-abstraction/contracts/artifacts/${name}.json`)
const factoryArtifact = artifact('SimpleAccountFactory')
const accountAbi = artifact('SimpleAccount').abi
const ok = (words) => console.log(`ok ${words}`)
const stranger = () => privateKeyToAccount(generatePrivateKey())

/** The arguments of the named error that a contract reverts with. */
async function fails(name, call) {
  const error = await call().then(() => assert.fail(`succeeded, expected ${name}`), (thrown) => thrown)
  const reverted = error instanceof BaseError && error.walk((cause) => cause instanceof ContractFunctionRevertedError)
  if (reverted?.data?.errorName !== name) throw error
  return reverted.data.args
}

/** What canonical init codes leave on a new anvil: code, nonce and storage by address. */
export async function canonical(chainId) {
  const anvil = require.resolve(`@foundry-rs/anvil-linux-${process.arch === 'x64' ? 'amd64' : process.arch}/bin/anvil`)
  const url = `http://127.0.0.1:${30000 + (process.pid % 20000)}`
  const flags = ['--port', new URL(url).port, '--hardfork', 'osaka', '--chain-id', chainId, '--disable-default-create2-deployer', '--quiet']
  const child = spawn(anvil, flags, { stdio: 'ignore' })
  const ended = new Promise((_, failed) => child.on('error', failed).on('exit', (code) => failed(new Error(`anvil ended with ${code}`))))
  const client = createPublicClient({ transport: http(url, { retryCount: 0 }) })
  const ask = (method, ...params) => client.request({ method, params })
  const found = async (look, tries = 500) => {
    const value = await Promise.race([ended, look()])
    assert(value || tries, 'anvil takes too long')
    return value ?? new Promise((done) => setTimeout(done, 20)).then(() => found(look, tries - 1))
  }
  const accounts = {}
  const created = async (address, hash) => {
    assert.equal((await found(() => ask('eth_getTransactionReceipt', hash))).status, '0x1', `init code of ${address}`)
    const { pre, post } = await ask('debug_traceTransaction', hash, { tracer: 'prestateTracer', tracerConfig: { diffMode: true } })
    const fresh = Object.entries(post).filter(([key, { code }]) => code && !pre[key]?.code)
    for (const [key, { code, nonce, storage = {} }] of fresh) accounts[getAddress(key)] = { code, nonce, storage }
    assert(accounts[address], `nothing at ${address}`)
  }
  const create2 = async (address, salt, initCode) => {
    assert.equal(getCreate2Address({ from: DEPLOYER, salt, bytecode: initCode }), address, 'not the canonical init code')
    await created(address, await ask('eth_sendTransaction', { to: DEPLOYER, data: concat([salt, initCode]), gas: '0x989680' }))
  }
  try {
    assert.equal(Number(await found(() => ask('eth_chainId').catch(() => null))), chainId)
    // Nobody has its sender's key: the signature is made up, and the sender is who it happens to be.
    const data = '0x604580600e600039806000f350fe7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3'
    const keyless = serializeTransaction({ type: 'legacy', gas: 100_000n, gasPrice: 100_000_000_000n, data }, { r: `0x${'22'.repeat(32)}`, s: `0x${'22'.repeat(32)}`, v: 27n })
    await ask('anvil_setBalance', await recoverTransactionAddress({ serializedTransaction: keyless }), '0xde0b6b3a7640000')
    await created(DEPLOYER, await ask('eth_sendRawTransaction', keyless))
    await create2(ENTRY_POINT, '0x90d8084deab30c2a37c45e8d47f49f2f7965183cb6990a98943ef94940681de3', artifact('EntryPoint').bytecode)
    const permit2 = fs.readFileSync(require.resolve(`hardhat-predeploy/bin/${PERMIT2}.bytecode`), 'hex')
    await create2(PERMIT2, '0x0000000000000000000000000000000000000000d3af2663da51c10215000000', `0x${permit2}`)
    return accounts
  } finally {
    ended.catch(() => {})
    child.kill('SIGKILL')
  }
}

/** Compiles one contract, with the settings that the wrapped coin's code in the genesis block has. */
export function compile(name, content) {
  const outputSelection = { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object'] } }
  const settings = { evmVersion: 'cancun', viaIR: true, optimizer: { enabled: true, runs: 10_000 }, metadata: { bytecodeHash: 'none', appendCBOR: false }, outputSelection }
  const output = JSON.parse(require('solc').compile(JSON.stringify({ language: 'Solidity', sources: { 'C.sol': { content } }, settings })))
  assert.deepEqual(output.errors ?? [], [])
  const { abi, evm } = output.contracts['C.sol'][name]
  return { abi, bytecode: `0x${evm.bytecode.object}`, deployed: `0x${evm.deployedBytecode.object}` }
}

const TOKEN = `// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;
contract Token {
  mapping(address => uint256) public balanceOf;
  mapping(address => mapping(address => uint256)) public allowance;
  constructor(address to, uint256 n) { balanceOf[to] = n; }
  function approve(address spender, uint256 n) external returns (bool) { allowance[msg.sender][spender] = n; return true; }
  function transferFrom(address from, address to, uint256 n) external returns (bool) { allowance[from][msg.sender] -= n; balanceOf[from] -= n; balanceOf[to] += n; return true; }
}`

/** The node under test, as its users see it. */
class Node {
  constructor({ chainId, validators, accounts }) {
    const rpcUrls = { default: { http: [validators[0].rpc] } }
    const chain = defineChain({ id: chainId, name: 'bttc', nativeCurrency: { name: 'BTT', symbol: 'BTT', decimals: 18 }, rpcUrls, contracts: { multicall3: { address: MULTICALL } } })
    this.chainId = chainId
    this.users = accounts.map(({ privateKey }) => privateKeyToAccount(privateKey))
    this.client = createPublicClient({ chain, transport: http(), pollingInterval: 50 })
    this.wallets = this.users.map((account) => createWalletClient({ account, chain, transport: http() }))
  }

  async mined(pending) {
    const receipt = await this.client.waitForTransactionReceipt({ hash: await pending, timeout: 30_000 })
    assert.equal(receipt.status, 'success')
    return receipt
  }

  read = (address, abi, functionName, ...args) => this.client.readContract({ address, abi, functionName, args })

  // Simulated first, which tells errors by their names.
  async write(user, address, abi, functionName, args, extra) {
    const request = { address, abi, functionName, args, ...extra }
    await this.client.simulateContract({ account: this.users[user], ...request })
    return this.mined(this.wallets[user].writeContract(request))
  }

  /** What user 0 gains with a transaction, apart from its gas. */
  async gained(send) {
    const balance = () => this.client.getBalance({ address: this.users[0].address })
    const before = await balance()
    const { gasUsed, effectiveGasPrice } = await send()
    return (await balance()) - before + gasUsed * effectiveGasPrice
  }
}

async function genesis(node, accounts) {
  const hashAt = async (address) => keccak256((await node.client.getCode({ address })) ?? '0x')
  for (const [address, { code, nonce, storage }] of Object.entries(accounts)) {
    assert.equal(await hashAt(address), keccak256(code), `code of ${address}`)
    const held = await node.client.getTransactionCount({ address })
    // The deployer's counts what it has deployed since.
    assert(address === DEPLOYER ? held >= nonce : held === nonce, `nonce of ${address}: ${held}, expected ${nonce}`)
    for (const [slot, value] of Object.entries(storage)) assert.equal(await node.client.getStorageAt({ address, slot }), value, `slot ${slot} of ${address}`)
    ok(`${address}: ${code.length / 2 - 1} bytes of code, nonce ${nonce}, ${Object.keys(storage).length} slots`)
  }
  // Its init code is in no library, but the hash of what it leaves is known: nothing in it is of a chain, and it has no storage.
  assert.equal(await hashAt(MULTICALL), '0xd5c15df687b16f2ff992fc8d767b4216323184a2bbc6ee2f9c398c318e770891', `code of ${MULTICALL}`)
  assert.equal(await node.client.getTransactionCount({ address: MULTICALL }), 1, `nonce of ${MULTICALL}`)
  ok(`${MULTICALL}: Ethereum's code, nonce 1`)
}

/** Deploys a token, with a thousand for user 1, at an address that is known before. */
async function deployer(node) {
  const { abi, bytecode, deployed } = compile('Token', TOKEN)
  const [salt, initCode] = [generatePrivateKey(), encodeDeployData({ abi, bytecode, args: [node.users[1].address, 1000n] })]
  const address = getCreate2Address({ from: DEPLOYER, salt, bytecode: initCode })
  const transaction = { to: DEPLOYER, data: concat([salt, initCode]) }
  await node.mined(node.wallets[0].sendTransaction(transaction))
  assert.equal(await node.client.getCode({ address }), deployed)
  await assert.rejects(node.client.call(transaction), /revert/, 'the same address twice')
  ok('the deterministic deployer')
  return { address, abi }
}

async function multicall(node, token) {
  const abi = parseAbi(['function getChainId() view returns (uint256)', 'function getEthBalance(address) view returns (uint256)'])
  const [user, other] = node.users.map(({ address }) => address)
  const contracts = [
    { ...token, functionName: 'balanceOf', args: [other] }, { address: MULTICALL, abi, functionName: 'getChainId' },
    { address: MULTICALL, abi, functionName: 'getEthBalance', args: [user] }, { ...token, functionName: 'transferFrom', args: [user, other, 1n] },
  ]
  const [held, id, coins, refused] = await node.client.multicall({ contracts })
  assert.deepEqual([held.result, id.result, coins.result], [1000n, BigInt(node.chainId), await node.client.getBalance({ address: user })])
  await fails('Panic', () => Promise.reject(refused.error ?? new Error('nothing was refused')))
  ok('reads through Multicall3')
}

async function userOperations(node) {
  const bundler = node.users[0].address
  const factory = (await node.mined(node.wallets[0].deployContract({ ...factoryArtifact, args: [ENTRY_POINT] }))).contractAddress
  // Has no coins and never sends a transaction; it only signs.
  const owner = stranger()
  const sender = await node.read(factory, factoryArtifact.abi, 'getAddress', owner.address, 0n)
  const { baseFeePerGas } = await node.client.getBlock()
  const fees = { maxFeePerGas: 2n * baseFeePerGas + 1_000_000_000n, maxPriorityFeePerGas: 1_000_000_000n }
  const limits = { verificationGasLimit: 1_000_000n, callGasLimit: 100_000n, preVerificationGas: 100_000n, ...fees }
  const funds = 3n * 1_200_000n * fees.maxFeePerGas
  const execute = (...args) => encodeFunctionData({ abi: accountAbi, functionName: 'execute', args })
  const signed = async (operation, key = owner) => {
    const userOperation = { sender, signature: '0x', ...limits, ...operation }
    const hash = getUserOperationHash({ chainId: node.chainId, entryPointAddress: ENTRY_POINT, entryPointVersion: '0.7', userOperation })
    assert.equal(await node.read(ENTRY_POINT, entryPoint07Abi, 'getUserOpHash', toPackedUserOperation(userOperation)), hash)
    return toPackedUserOperation({ ...userOperation, signature: await key.signMessage({ message: { raw: hash } }) })
  }
  const handle = (operation) => node.write(0, ENTRY_POINT, entryPoint07Abi, 'handleOps', [[operation], bundler], fees)
  const refused = async (code, operation) => assert.equal((await fails('FailedOp', () => handle(operation)))[1].slice(0, 4), code)
  const handled = async (operation, success) => {
    let receipt
    const refund = await node.gained(async () => (receipt = await handle(operation)))
    const [{ args }, ...others] = parseEventLogs({ abi: entryPoint07Abi, logs: receipt.logs, eventName: 'UserOperationEvent' })
    assert.deepEqual([args.sender, args.success, others.length], [sender, success, 0])
    assert.equal(refund, args.actualGasCost, 'the refund')
    assert(refund >= receipt.gasUsed * receipt.effectiveGasPrice, 'the bundler has lost')
    return refund
  }
  const left = async () => (await node.client.getBalance({ address: sender })) + (await node.read(ENTRY_POINT, entryPoint07Abi, 'balanceOf', sender))
  const target = stranger().address
  const factoryData = encodeFunctionData({ abi: factoryArtifact.abi, functionName: 'createAccount', args: [owner.address, 0n] })
  const first = { nonce: 0n, factory, factoryData, callData: execute(target, 7n, '0x') }
  const operation = await signed(first)
  await refused('AA21', operation)
  await node.mined(node.wallets[1].sendTransaction({ to: sender, value: funds }))
  await refused('AA24', await signed(first, stranger()))
  const paid = await handled(operation, true)
  assert.equal(await node.client.getBalance({ address: target }), 7n)
  assert.equal(await node.read(sender, accountAbi, 'owner'), owner.address)
  assert.equal(await left(), funds - 7n - paid)
  await refused('AA10', operation)
  // More than it has: the call fails, and its gas is paid all the same.
  const more = await handled(await signed({ nonce: 1n, callData: execute(target, funds, '0x') }), false)
  assert.equal(await left(), funds - 7n - paid - more)
  ok('user operations: one that creates an account and calls, one whose call fails')
}

async function permit2(node, token) {
  const abi = parseAbi([
    'struct Permission { address token; uint256 amount; }', 'struct Permit { Permission permitted; uint256 nonce; uint256 deadline; }', 'struct Details { address to; uint256 requestedAmount; }',
    'function permitTransferFrom(Permit permit, Details details, address owner, bytes signature)', 'function DOMAIN_SEPARATOR() view returns (bytes32)', 'error InvalidNonce()', 'error InvalidSigner()',
  ])
  const domain = { name: 'Permit2', chainId: node.chainId, verifyingContract: PERMIT2 }
  assert.equal(await node.read(PERMIT2, abi, 'DOMAIN_SEPARATOR'), domainSeparator({ domain }))
  const field = (name, type) => ({ name, type })
  const types = {
    PermitTransferFrom: [field('permitted', 'TokenPermissions'), field('spender', 'address'), field('nonce', 'uint256'), field('deadline', 'uint256')],
    TokenPermissions: [field('token', 'address'), field('amount', 'uint256')],
  }
  const [spender, owner] = node.users
  const [to, nonce] = [stranger().address, BigInt(generatePrivateKey())]
  await node.write(1, token.address, token.abi, 'approve', [PERMIT2, maxUint256])
  const permit = (amount) => ({ permitted: { token: token.address, amount }, nonce, deadline: maxUint256 })
  const signature = await owner.signTypedData({ domain, types, primaryType: 'PermitTransferFrom', message: { ...permit(300n), spender: spender.address } })
  const transfer = (amount) => node.write(0, PERMIT2, abi, 'permitTransferFrom', [permit(amount), { to, requestedAmount: amount }, owner.address, signature])
  await fails('InvalidSigner', () => transfer(301n))
  await transfer(300n)
  await fails('InvalidNonce', () => transfer(300n))
  const held = (address) => node.read(token.address, token.abi, 'balanceOf', address)
  assert.deepEqual([await held(to), await held(owner.address)], [300n, 700n])
  ok('a transfer through Permit2, by signature')
}

async function wrapped(node) {
  const code = await node.client.getCode({ address: WBTT })
  if (!code) return console.log(`skipped: the wrapped coin, as there is no code at ${WBTT}`)
  const { abi, deployed } = compile('WrappedBtt', fs.readFileSync(at('../../genesis/contracts/WrappedBtt.sol'), 'utf8'))
  assert.equal(keccak256(code), keccak256(deployed), 'not the code of WrappedBtt.sol')
  const [user, other, to] = [...node.users.slice(0, 2), stranger()].map(({ address }) => address)
  const read = (...given) => node.read(WBTT, abi, ...given)
  const write = (by, name, args, value) => node.write(by, WBTT, abi, name, args, { value })
  assert.deepEqual([await read('name'), await read('symbol'), await read('decimals')], ['Wrapped BTT', 'WBTT', 18])
  const state = async () => [await read('balanceOf', user), await read('balanceOf', to), await read('totalSupply'), await node.client.getBalance({ address: WBTT })]
  const before = await state()
  const moved = async (...wanted) => assert.deepEqual((await state()).map((value, i) => value - before[i]), wanted)
  const logged = async (pending, ...wanted) => {
    const receipt = await pending
    assert.deepEqual(parseEventLogs({ abi, logs: receipt.logs }).map(({ eventName, args }) => [eventName, ...Object.values(args)]), [wanted])
    return receipt
  }
  assert.equal(await node.gained(() => logged(write(0, 'deposit', [], 50n), 'Deposit', user, 50n)), -50n)
  assert.equal(await node.gained(() => logged(node.mined(node.wallets[0].sendTransaction({ to: WBTT, value: 30n })), 'Deposit', user, 30n)), -30n)
  await moved(80n, 0n, 80n, 80n)
  await logged(write(0, 'transfer', [to, 20n]), 'Transfer', user, to, 20n)
  await logged(write(0, 'approve', [other, 10n]), 'Approval', user, other, 10n)
  await fails('ERC20InsufficientAllowance', () => write(1, 'transferFrom', [user, to, 11n]))
  await logged(write(1, 'transferFrom', [user, to, 10n]), 'Transfer', user, to, 10n)
  assert.equal(await read('allowance', user, other), 0n)
  await write(0, 'approve', [other, maxUint256])
  await write(1, 'transferFrom', [user, to, 5n])
  assert.equal(await read('allowance', user, other), maxUint256)
  await moved(45n, 35n, 80n, 80n)
  await fails('ERC20InvalidReceiver', () => write(0, 'transfer', [WBTT, 1n]))
  await fails('ERC20InsufficientBalance', () => write(0, 'withdraw', [before[0] + 46n]))
  assert.equal(await node.gained(() => logged(write(0, 'withdraw', [45n]), 'Withdrawal', user, 45n)), 45n)
  await moved(0n, 35n, 35n, 35n)
  ok('the wrapped coin: deposited, sent on, withdrawn')
}

async function main() {
  const devnet = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
  const node = new Node(devnet)
  await genesis(node, await canonical(devnet.chainId))
  const token = await deployer(node)
  for (const use of [multicall, userOperations, permit2, wrapped]) await use(node, token)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().then(() => process.exit(0), (error) => {
    console.error(process.env.DEBUG ? error : error.shortMessage ?? error.message ?? error)
    process.exit(1)
  })
}
