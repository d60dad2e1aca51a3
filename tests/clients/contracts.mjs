// OpenZeppelin's contracts, compiled here and used with ethers: tokens, permits, votes, a governor, proxies, clones, errors.
//
//   node contracts.mjs DEVNET.json
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import {
  AbiCoder, Contract, ContractFactory, Interface, JsonRpcProvider, Signature, TypedDataEncoder, Wallet, ZeroAddress, dataSlice,
  getCreateAddress, id, parseEther, toBeHex, zeroPadValue,
} from 'ethers'
import solc from 'solc'

const devnet = JSON.parse(readFileSync(process.argv[2], 'utf8'))
// ethers answers a repeated question from its cache for 250 ms; a block here is final sooner.
const provider = new JsonRpcProvider(devnet.validators[0].rpc, undefined, { pollingInterval: 50, cacheTimeout: -1 })
const [admin, user, other, spender] = devnet.accounts.map((account) => new Wallet(account.privateKey, provider))
const { chainId } = await provider.getNetwork()
const start = await provider.getBlockNumber()
const ok = (words) => console.log(`ok ${words}`)

function compile() {
  const require = createRequire(import.meta.url)
  const imports = (path) => ({ contents: readFileSync(require.resolve(path), 'utf8') })
  const sources = { 'Contracts.sol': { content: readFileSync(new URL('Contracts.sol', import.meta.url), 'utf8') } }
  // Not optimized: solc takes two seconds in place of ten, and the governor stays just below the limit of code size.
  const settings = { outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } } }
  const { contracts, errors = [] } = JSON.parse(solc.compile(JSON.stringify({ language: 'Solidity', sources, settings }), { import: imports }))
  const fatal = errors.filter((error) => error.severity === 'error')
  assert.equal(fatal.length, 0, fatal.map((error) => error.formattedMessage).join('\n'))
  return Object.assign({}, ...Object.values(contracts))
}

const compiled = compile()
ok('solc compiles OpenZeppelin 5.7')

async function deploy(name, ...args) {
  const { abi, evm } = compiled[name]
  const contract = await new ContractFactory(abi, evm.bytecode.object, admin).deploy(...args)
  await contract.waitForDeployment()
  const { from, nonce } = contract.deploymentTransaction()
  assert.equal(contract.target, getCreateAddress({ from, nonce }), `address of ${name}`)
  assert.notEqual(await contract.getDeployedCode(), null)
  return contract
}

const attached = (name, address, signer = admin) => new Contract(address, compiled[name].abi, signer)
const mined = async (sent) => (await sent).wait()
const named = (contract, receipt, name) =>
  receipt.logs.filter((log) => log.address === contract.target).map((log) => contract.interface.parseLog(log)).filter((log) => log.name === name)

/** Both what is asked before sending and what a call says carry the contract's error. */
async function reverts(contract, method, args, name, wanted) {
  const signer = contract.runner.address
  for (const attempt of [contract[method].staticCall, contract[method], contract[method].estimateGas]) {
    const error = await attempt(...args).then(() => assert.fail(`${method} did not revert`), (reason) => reason)
    assert.equal(error.code, 'CALL_EXCEPTION', `${method} by ${signer}: ${error.message}`)
    const parsed = contract.interface.parseError(error.data)
    assert.equal(parsed?.name, name, `${method}: ${error.message}`)
    if (wanted) assert.deepEqual(parsed.args.toArray(true), wanted)
  }
}

/** The signature of typed data, with the domain that the contract itself states. */
async function signed(contract, signer, types, message) {
  const [, name, version, domainChain, verifyingContract] = await contract.eip712Domain()
  assert.deepEqual([domainChain, verifyingContract], [chainId, contract.target])
  const domain = { name, version, chainId: domainChain, verifyingContract }
  return { domain, signature: await signer.signTypedData(domain, types, message) }
}

async function tokenWithPermit(token) {
  const supply = parseEther('1000')
  assert.deepEqual([await token.name(), await token.symbol(), await token.decimals(), await token.totalSupply()], ['Ballot', 'BLT', 18n, supply])
  const heard = new Promise((resolve, reject) => {
    token.once(token.filters.Transfer(admin.address, user.address), (event) => resolve(event.args.value))
    setTimeout(() => reject(new Error('no event by polling')), 15_000).unref()
  })
  const receipt = await mined(token.transfer(user.address, 300n))
  assert.deepEqual(named(token, receipt, 'Transfer')[0].args.toArray(), [admin.address, user.address, 300n])
  assert.equal(await heard, 300n)
  assert.equal(await token.balanceOf(user.address), 300n)
  await reverts(token.connect(user), 'transfer', [other.address, 301n], 'ERC20InsufficientBalance', [user.address, 300n, 301n])
  await reverts(token.connect(spender), 'transferFrom', [user.address, spender.address, 1n], 'ERC20InsufficientAllowance', [spender.address, 0n, 1n])

  const types = { Permit: ['address owner', 'address spender', 'uint256 value', 'uint256 nonce', 'uint256 deadline'].map(field) }
  const { timestamp } = await provider.getBlock('latest')
  const message = { owner: user.address, spender: spender.address, value: 120n, nonce: await token.nonces(user.address), deadline: timestamp + 600 }
  const { domain, signature } = await signed(token, user, types, message)
  assert.equal(await token.DOMAIN_SEPARATOR(), TypedDataEncoder.hashDomain(domain))
  const permit = ({ v, r, s }, { owner, value, deadline }) => [owner, spender.address, value, deadline, v, r, s]
  const forged = Signature.from(await other.signTypedData(domain, types, message))
  await reverts(token, 'permit', permit(forged, message), 'ERC2612InvalidSigner', [other.address, user.address])
  const late = { ...message, deadline: 1 }
  await reverts(token, 'permit', permit(Signature.from(await user.signTypedData(domain, types, late)), late), 'ERC2612ExpiredSignature', [1n])
  await mined(token.permit(...permit(Signature.from(signature), message)))
  assert.deepEqual([await token.allowance(user.address, spender.address), await token.nonces(user.address)], [120n, 1n])
  await mined(token.connect(spender).transferFrom(user.address, spender.address, 120n))
  assert.deepEqual([await token.balanceOf(user.address), await token.balanceOf(spender.address)], [180n, 120n])
  const transfers = await token.queryFilter(token.filters.Transfer(user.address), receipt.blockNumber)
  assert.deepEqual(transfers.map((log) => log.args.value), [120n])
  const all = await token.queryFilter('Transfer', receipt.blockNumber, 'latest')
  assert.deepEqual(all.map((log) => [log.args.from, log.args.value]), [[admin.address, 300n], [user.address, 120n]])
  ok('ERC-20: events, errors, a permit signed as typed data')
}

async function votes(token) {
  assert.equal(await token.getVotes(admin.address), 0n)
  const first = await mined(token.delegate(admin.address))
  assert.equal(named(token, first, 'DelegateVotesChanged')[0].args.newVotes, parseEther('1000') - 300n)
  const types = { Delegation: ['address delegatee', 'uint256 nonce', 'uint256 expiry'].map(field) }
  const { timestamp } = await provider.getBlock('latest')
  const message = { delegatee: other.address, nonce: await token.nonces(user.address), expiry: timestamp + 600 }
  const { v, r, s } = Signature.from((await signed(token, user, types, message)).signature)
  const second = await mined(token.delegateBySig(message.delegatee, message.nonce, message.expiry, v, r, s))
  assert.deepEqual([await token.delegates(user.address), await token.getVotes(other.address)], [other.address, 180n])
  await mine(second.blockNumber + 1)
  assert.equal(await token.getPastVotes(other.address, second.blockNumber), 180n)
  assert.equal(await token.getPastVotes(other.address, second.blockNumber - 1), 0n)
  assert.equal(await token.getVotes(other.address, { blockTag: second.blockNumber - 1 }), 0n)
  ok('votes: delegation, by signature too, and what they were')
}

function field(words) {
  const [type, name] = words.split(' ')
  return { type, name }
}

/** Until the chain is past a height: on a chain that makes blocks on demand, transactions make it grow. */
async function mine(height) {
  while ((await provider.getBlockNumber()) <= height) await mined(spender.sendTransaction({ to: spender.address }))
}

async function governor(token, vault) {
  const timelock = await deploy('TimelockController', 1, [], [ZeroAddress], admin.address)
  const chooser = await deploy('Chooser', token.target, timelock.target)
  for (const role of ['PROPOSER_ROLE', 'CANCELLER_ROLE']) await mined(timelock.grantRole(await timelock[role](), chooser.target))
  await mined(vault.grantRole(await vault.KEEPER(), timelock.target))
  const words = 'Raise the limit'
  const calls = [[vault.target], [0n], [vault.interface.encodeFunctionData('setLimit', [777n])]]
  const [created] = named(chooser, await mined(chooser.propose(...calls, words)), 'ProposalCreated')
  const { proposalId, voteStart, voteEnd } = created.args
  assert.equal(await chooser.hashProposal(...calls, id(words)), proposalId)
  assert.equal(created.args.description, words)
  await reverts(chooser, 'queue', [...calls, id(words)], 'GovernorUnexpectedProposalState')
  await mine(Number(voteStart))
  await mined(chooser.castVoteWithReason(proposalId, 1, 'good'))
  const types = { Ballot: ['uint256 proposalId', 'uint8 support', 'address voter', 'uint256 nonce'].map(field) }
  const ballot = { proposalId, support: 0, voter: other.address, nonce: await chooser.nonces(other.address) }
  const { signature } = await signed(chooser, other, types, ballot)
  const cast = await mined(chooser.castVoteBySig(proposalId, 0, other.address, signature))
  assert.deepEqual(named(chooser, cast, 'VoteCast')[0].args.toArray(), [other.address, proposalId, 0n, 180n, ''])
  assert.deepEqual((await chooser.proposalVotes(proposalId)).toArray(), [180n, parseEther('1000') - 300n, 0n])
  await mine(Number(voteEnd))
  assert.equal(await chooser.state(proposalId), 4n)
  await mined(chooser.queue(...calls, id(words)))
  const eta = await chooser.proposalEta(proposalId)
  while (BigInt((await provider.getBlock('latest')).timestamp) < eta) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    await mine(await provider.getBlockNumber())
  }
  const receipt = await mined(chooser.execute(...calls, id(words)))
  assert.equal(named(timelock, receipt, 'CallExecuted').length, 1)
  assert.deepEqual([await vault.limit(), await chooser.state(proposalId)], [777n, 7n])
  ok('a governor: proposal, ballots, one by signature, timelock, execution')
}

async function roles(vault) {
  const keeper = await vault.KEEPER()
  assert.equal(keeper, id('KEEPER'))
  await reverts(vault, 'setLimit', [1n], 'AccessControlUnauthorizedAccount', [admin.address, keeper])
  const granted = await mined(vault.grantRole(keeper, user.address))
  assert.deepEqual(named(vault, granted, 'RoleGranted')[0].args.toArray(), [keeper, user.address, admin.address])
  await mined(vault.connect(user).setLimit(5n))
  assert.equal(await vault.limit(), 5n)
  await mined(vault.connect(user).renounceRole(keeper, user.address))
  assert.equal(await vault.hasRole(keeper, user.address), false)
  ok('roles')
}

async function collectibles() {
  const art = await deploy('Art')
  for (const number of [5n, 9n]) await mined(art.mint(user.address, number))
  await reverts(art, 'mint', [user.address, 5n], 'ERC721InvalidSender', [ZeroAddress])
  await reverts(art, 'mint', [art.target, 6n], 'ERC721InvalidReceiver', [art.target])
  await reverts(art, 'tokenURI', [6n], 'ERC721NonexistentToken', [6n])
  assert.deepEqual([await art.tokenURI(9n), await art.ownerOf(9n), await art.tokenOfOwnerByIndex(user.address, 1n)], ['ipfs://art/9', user.address, 9n])
  await mined(art.connect(user).approve(spender.address, 9n))
  const moved = await mined(art.connect(spender)['safeTransferFrom(address,address,uint256,bytes)'](user.address, other.address, 9n, '0x1234'))
  assert.deepEqual(named(art, moved, 'Transfer')[0].args.toArray(), [user.address, other.address, 9n])
  assert.deepEqual((await art.queryFilter(art.filters.Transfer(null, null, 9n), start)).map((log) => log.args.to), [user.address, other.address])
  assert.ok(await art.supportsInterface('0x780e9d63'))

  const items = await deploy('Items')
  const minted = await mined(items.mint(user.address, [1n, 2n, 3n], [10n, 20n, 30n]))
  assert.deepEqual(named(items, minted, 'TransferBatch')[0].args.toArray(true).slice(3), [[1n, 2n, 3n], [10n, 20n, 30n]])
  await mined(items.connect(user).safeBatchTransferFrom(user.address, other.address, [1n, 3n], [4n, 30n], '0x'))
  assert.deepEqual((await items.balanceOfBatch([user.address, other.address, user.address], [1n, 3n, 3n])).toArray(), [6n, 30n, 0n])
  await reverts(items.connect(user), 'safeTransferFrom', [user.address, other.address, 2n, 21n, '0x'], 'ERC1155InsufficientBalance', [user.address, 20n, 21n, 2n])
  await reverts(items.connect(user), 'safeTransferFrom', [user.address, items.target, 2n, 1n, '0x'], 'ERC1155InvalidReceiver', [items.target])
  ok('ERC-721 and ERC-1155')
}

async function proxies() {
  const slot = (name) => toBeHex(BigInt(id(name)) - 1n, 32)
  const IMPLEMENTATION = slot('eip1967.proxy.implementation')
  const implementation = async (proxy) => dataSlice(await provider.getStorage(proxy, IMPLEMENTATION), 12)
  const [one, two] = [await deploy('Box'), await deploy('BoxV2')]
  const call = one.interface.encodeFunctionData('initialize', [admin.address, 21n])
  await reverts(one, 'initialize', [admin.address, 1n], 'InvalidInitialization', [])

  const proxy = await deploy('ERC1967Proxy', one.target, call)
  const box = attached('BoxV2', proxy.target)
  await reverts(box.connect(user), 'upgradeToAndCall', [two.target, '0x'], 'NotOwner', [user.address])
  await reverts(box, 'upgradeToAndCall', [proxy.target, '0x'], 'ERC1967InvalidImplementation', [proxy.target])
  await reverts(one, 'upgradeToAndCall', [two.target, '0x'], 'UUPSUnauthorizedCallContext', [])
  const upgraded = await mined(box.upgradeToAndCall(two.target, two.interface.encodeFunctionData('double')))
  assert.equal(named(box, upgraded, 'Upgraded')[0].args.implementation, two.target)
  assert.equal(await box.value(), 42n)
  assert.equal(await implementation(proxy.target), two.target.toLowerCase())

  const transparent = await deploy('TransparentUpgradeableProxy', one.target, admin.address, call)
  const owner = attached('ProxyAdmin', dataSlice(await provider.getStorage(transparent.target, slot('eip1967.proxy.admin')), 12))
  assert.equal(owner.target.toLowerCase(), getCreateAddress({ from: transparent.target, nonce: 1 }).toLowerCase())
  await reverts(owner.connect(user), 'upgradeAndCall', [transparent.target, two.target, '0x'], 'OwnableUnauthorizedAccount', [user.address])
  await mined(owner.upgradeAndCall(transparent.target, two.target, two.interface.encodeFunctionData('double')))
  assert.equal(await attached('BoxV2', transparent.target).value(), 42n)
  assert.equal(await implementation(transparent.target), two.target.toLowerCase())
  ok('UUPS and transparent proxies, upgraded')
}

async function clones() {
  const [cell, copies] = [await deploy('Cell'), await deploy('Copies')]
  const copy = async (method, ...args) => named(copies, await mined(copies[method](...args)), 'Copied')[0].args.copy
  const plain = await copy('plain', cell.target)
  assert.equal(plain, getCreateAddress({ from: copies.target, nonce: 1 }))
  assert.equal(await provider.getCode(plain), `0x363d3d373d3d3d363d73${cell.target.slice(2).toLowerCase()}5af43d82803e903d91602b57fd5bf3`)
  const salt = zeroPadValue('0x51', 32)
  const predicted = await copies.where(cell.target, salt)
  assert.equal(await copy('at', cell.target, salt), predicted)
  await reverts(copies, 'at', [cell.target, salt], 'FailedDeployment', [])
  for (const [at, value] of [[plain, 1n], [predicted, 2n]]) {
    const clone = attached('Cell', at)
    await mined(clone.initialize(value))
    assert.equal(await clone.value(), value)
    await reverts(clone, 'initialize', [9n], 'InvalidInitialization', [])
  }
  const words = AbiCoder.defaultAbiCoder().encode(['string'], ['kept in the code'])
  assert.equal(await copies.words(await copy('with', cell.target, words)), words)
  ok('clones: plain, at a chosen address, with arguments in their code')
}

async function failures() {
  const contract = await deploy('Failures')
  await reverts(contract, 'custom', [], 'Custom', [admin.address, [7n, 8n], 'with words'])
  await reverts(contract, 'words', [], 'Error', ['plain words'])
  await reverts(contract, 'panic', [0n], 'Panic', [18n])
  const reason = async (method, ...args) => (await contract[method].staticCall(...args).catch((error) => error)).reason
  assert.deepEqual([await reason('words'), await reason('panic', 0n)], ['plain words', 'Panic due to DIVIDE_BY_ZERO(18)'])
  for (const method of ['silent', 'broken']) {
    const error = await contract[method].staticCall().catch((caught) => caught)
    assert.deepEqual([error.code, error.data ?? '0x'], ['CALL_EXCEPTION', '0x'], `${method}: ${error.message}`)
  }
  // One that is sent all the same is mined, fails, and costs what it used.
  for (const [method, gasLimit] of [['custom', 100_000n], ['broken', 90_000n]]) {
    const error = await mined(contract[method]({ gasLimit })).catch((caught) => caught)
    assert.deepEqual([error.code, error.receipt?.status], ['CALL_EXCEPTION', 0], error.message)
    assert.equal(error.receipt.gasUsed === gasLimit, method === 'broken')
    assert.equal(error.receipt.logs.length, 0)
  }
  assert.equal(await contract.counter(), 0n)
  assert.equal(new Interface(['error Custom(address,uint256[],string)']).getError('Custom').selector, id('Custom(address,uint256[],string)').slice(0, 10))
  ok('reverts: custom errors, words, panics, none, and mined ones')
}

const token = await deploy('Token')
await tokenWithPermit(token)
await votes(token)
const vault = await deploy('Vault')
await roles(vault)
await governor(token, vault)
await collectibles()
await proxies()
await clones()
await failures()
provider.destroy()
