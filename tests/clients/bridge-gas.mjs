// What relayers pay on root chains: gas of a checkpoint for sets of 21, 50 and 100 members with as many signatures as suffice,
// and of a claim, on a real anvil; energy on the TRON simulator. Printed beside the figures that must not be exceeded.
//
//   node bridge-gas.mjs [ANVIL] [BTTC]
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { createPublicClient, createWalletClient, concat, encodeAbiParameters, encodeDeployData, encodeFunctionData, hexToBigInt, http, keccak256, numberToHex, toBytes, toHex } from 'viem'
import { generatePrivateKey, privateKeyToAccount, sign } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { TronWeb } from 'tronweb'

const here = path.dirname(fileURLToPath(import.meta.url))
const contracts = path.join(here, '../../bridge/contracts')
const artifact = (name) => JSON.parse(fs.readFileSync(path.join(contracts, 'artifacts', `${name}.json`), 'utf8'))
const anvilPath = process.argv[2] || path.join(contracts, 'node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil')
const bttcPath = process.argv[3]
const [gatewayAbi, NATIVE] = [artifact('EvmGateway').abi, '0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE']
const BRIDGE = keccak256(toBytes('gas'))
const key = '0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'
const account = privateKeyToAccount(key)
const typeHash = (text) => keccak256(toBytes(text))
const encode = (types, values) => encodeAbiParameters(types.map((type) => ({ type })), values)
const domain = keccak256(encode(['bytes32', 'bytes32', 'bytes32', 'bytes32'], [typeHash('EIP712Domain(string name,string version,bytes32 salt)'), typeHash('BTTC Bridge'), typeHash('1'), BRIDGE]))
const typed = (body) => keccak256(concat(['0x1901', domain, body]))

function makeSet(count) {
  const members = Array.from({ length: count }, () => {
    const secret = generatePrivateKey()
    return { secret, address: privateKeyToAccount(secret).address }
  }).sort((a, b) => (a.address.toLowerCase() < b.address.toLowerCase() ? -1 : 1))
  const u64 = (value) => numberToHex(value, { size: 8 })
  const encoded = concat([u64(1), u64(count * 10), ...members.flatMap((member) => [member.address, u64(10)])])
  const hash = keccak256(encode(['bytes32', 'bytes32', 'bytes32'], [typeHash('BridgeSet(bytes32 bridgeId,bytes set)'), BRIDGE, keccak256(encoded)]))
  return { members, encoded, hash, enough: Math.max(settings.minSigners, Math.floor((2 * count) / 3) + 1) }
}

async function signatures(set, digest, count = set.enough) {
  const parts = []
  for (let index = 0; index < count; index++) {
    const { r, s, v } = await sign({ hash: digest, privateKey: set.members[index].secret })
    parts.push(numberToHex(index, { size: 1 }), r, s, numberToHex(Number(v), { size: 1 }))
  }
  return concat(parts)
}

const destType = [{ type: 'tuple[]', components: [{ name: 'rootChainId', type: 'uint64' }, { name: 'gateway', type: 'address' }, { name: 'treeId', type: 'uint32' }, { name: 'withdrawalRoot', type: 'bytes32' }, { name: 'count', type: 'uint64' }] }]
function checkpoint(set, chainId, gateway, seq, root) {
  const dests = [[chainId, gateway], [56n, '0x0000000000000000000000000000000000000001'], [728126428n, '0x0000000000000000000000000000000000000002']].map(([rootChainId, address]) => ({ rootChainId, gateway: address, treeId: 1, withdrawalRoot: root ?? keccak256(toHex(seq)), count: BigInt(seq) }))
  const cp = { seq: BigInt(seq), lastBlock: BigInt(seq * 20), lastBlockHash: keccak256(toHex(seq)), timestamp: BigInt(Math.floor(Date.now() / 1000)), setHash: set.hash, nextSetHash: set.hash }
  const name = typeHash('Checkpoint(uint64 seq,uint64 lastBlock,bytes32 lastBlockHash,uint64 timestamp,bytes32 destsHash,bytes32 setHash,bytes32 nextSetHash)')
  const body = keccak256(encode(['bytes32', 'uint64', 'uint64', 'bytes32', 'uint64', 'bytes32', 'bytes32', 'bytes32'], [name, cp.seq, cp.lastBlock, cp.lastBlockHash, cp.timestamp, keccak256(encodeAbiParameters(destType, [dests])), cp.setHash, cp.nextSetHash]))
  return { cp, dests, digest: typed(body) }
}

const settings = { bridgeId: BRIDGE, minSigners: 5, minRotation: 600, overlap: 86400, expiry: 1209600, largeDelay: 86400, bucketWindow: 86400, upgradeDelay: 604800, recoveryDelay: 1209600, pauseSeconds: 259200, pauseRest: 2592000 }
const initialize = (set) => encodeFunctionData({ abi: gatewayAbi, functionName: 'initialize', args: [set.encoded, BigInt(Math.floor(Date.now() / 1000)), [], [account.address], 1n] })

function commandDigest(chainId, gateway, nonce, payload) {
  const name = typeHash('GatewayCommand(uint64 rootChainId,address gateway,uint64 commandNonce,uint8 kind,bytes payload)')
  return typed(keccak256(encode(['bytes32', 'uint64', 'address', 'uint64', 'uint8', 'bytes32'], [name, chainId, gateway, nonce, 1, keccak256(payload)])))
}

const zeros = [`0x${'00'.repeat(32)}`]
for (let height = 1; height <= 32; height++) zeros.push(zeros[0])

/** A tree of these leaves: its root, and a leaf's siblings. */
function prove(leaves, index) {
  let level = leaves
  const proof = []
  for (let height = 0; height < 32; height++) {
    proof.push(level[index ^ 1] ?? zeros[height])
    const next = []
    for (let at = 0; at < level.length; at += 2) next.push(keccak256(concat([level[at], level[at + 1] ?? zeros[height]])))
    level = next
    index >>= 1
  }
  return { root: level[0], proof }
}

async function evm() {
  const port = 30000 + (process.pid % 20000)
  const anvil = spawn(anvilPath, ['--port', String(port), '--quiet', '--hardfork', 'prague', '--gas-limit', '60000000'], { stdio: 'ignore' })
  try {
    const transport = http(`http://127.0.0.1:${port}`)
    const client = createPublicClient({ chain: foundry, transport, pollingInterval: 20 })
    const wallet = createWalletClient({ account, chain: foundry, transport })
    for (let tries = 0; ; tries++) {
      try { await client.getBlockNumber(); break } catch (error) { if (tries > 100) throw error }
      await new Promise((done) => setTimeout(done, 50))
    }
    const chainId = BigInt(await client.getChainId())
    // A block comes with a transaction and not before: waiting for the next one could take for ever.
    const mined = async (pending) => {
      const hash = await pending
      for (let tries = 0; tries < 1_000; tries++) {
        const receipt = await client.request({ method: 'eth_getTransactionReceipt', params: [hash] })
        if (receipt && receipt.status !== '0x1') throw new Error(`${hash} failed`)
        if (receipt) return { contractAddress: receipt.contractAddress, gasUsed: BigInt(receipt.gasUsed) }
        await new Promise((done) => setTimeout(done, 10))
      }
      throw new Error(`${hash} is in no block`)
    }
    const deploy = async (name, args) => {
      const { abi, bytecode } = artifact(name)
      return (await mined(wallet.deployContract({ abi, bytecode, args }))).contractAddress
    }
    const rows = []
    const limits = { 21: 170079, 50: 306592, 100: 543396 }
    for (const count of [21, 50, 100]) {
      const set = makeSet(count)
      const implementation = await deploy('EvmGateway', [settings])
      const gateway = await deploy('GatewayProxy', [implementation, initialize(set)])
      let gas
      // The ring of roots is full after 64.
      for (let seq = 1; seq <= 66; seq++) {
        const { cp, dests, digest } = checkpoint(set, chainId, gateway, seq)
        const args = [cp, dests, set.encoded, await signatures(set, digest)]
        gas = Number((await mined(wallet.writeContract({ address: gateway, abi: gatewayAbi, functionName: 'submitCheckpoint', args, gas: 2_000_000n }))).gasUsed)
      }
      rows.push([`checkpoint, ${count} members, ${set.enough} signatures`, gas, limits[count]])
    }
    const set = makeSet(5)
    const implementation = await deploy('EvmGateway', [settings])
    const gateway = await deploy('GatewayProxy', [implementation, initialize(set)])
    // The proxy's share is measured by a call that does nothing else.
    const look = (to) => client.estimateGas({ account, to, data: encodeFunctionData({ abi: gatewayAbi, functionName: 'BRIDGE_ID' }) })
    const proxy = Number((await look(gateway)) - (await look(implementation)))
    const token = await deploy('PlainToken', ['T', 'T', 18, 10n ** 30n])
    const tokenAbi = artifact('PlainToken').abi
    const payload = encode(['address', 'uint256', 'uint256'], [token, 1n, 10n ** 21n])
    await mined(wallet.writeContract({ address: gateway, abi: gatewayAbi, functionName: 'execute', args: [1n, 1, payload, set.encoded, await signatures(set, commandDigest(chainId, gateway, 1n, payload))] }))
    await mined(wallet.writeContract({ address: token, abi: tokenAbi, functionName: 'approve', args: [gateway, 10n ** 30n] }))
    await mined(wallet.writeContract({ address: gateway, abi: gatewayAbi, functionName: 'deposit', args: [token, 10n ** 21n, account.address] }))
    const recipient = '0x00000000000000000000000000000000000b0b01'
    const name = typeHash('Withdrawal(bytes32 bridgeId,uint64 rootChainId,address gateway,uint32 treeId,uint64 index,address token,address sender,address recipient,uint256 amount,uint256 relayerFee)')
    const leaves = [0n, 1n, 2n].map((index) => keccak256(keccak256(encode(['bytes32', 'bytes32', 'uint64', 'address', 'uint32', 'uint64', 'address', 'address', 'address', 'uint256', 'uint256'], [name, BRIDGE, chainId, gateway, 1, index, token, account.address, recipient, 10n ** 18n, 0n]))))
    const { root } = prove(leaves, 0)
    const { cp, dests, digest } = checkpoint(set, chainId, gateway, 3, root)
    await mined(wallet.writeContract({ address: gateway, abi: gatewayAbi, functionName: 'submitCheckpoint', args: [cp, dests, set.encoded, await signatures(set, digest)] }))
    let gas
    for (const index of [0, 1, 2]) {
      const { proof } = prove(leaves, index)
      const receipt = await mined(wallet.writeContract({ address: gateway, abi: gatewayAbi, functionName: 'claim', args: [1, BigInt(index), token, account.address, recipient, 10n ** 18n, 0n, proof] }))
      if (index === 0) rows.push(['claim, first of a bitmap word, new holder', Number(receipt.gasUsed), 111000])
      gas = Number(receipt.gasUsed)
    }
    rows.push([`claim of a token, depth 32 (${proxy} of it the proxy)`, gas, 76000])
    return rows
  } finally {
    anvil.kill('SIGKILL')
  }
}

async function tron() {
  if (!bttcPath) return []
  const port = 50000 + (process.pid % 10000)
  const sim = spawn(bttcPath, ['tron-sim', '--listen', `127.0.0.1:${port}`, '--block-time-ms', '50', '--fund', account.address], { stdio: 'ignore' })
  try {
    const web = new TronWeb({ fullHost: `http://127.0.0.1:${port}`, privateKey: key.slice(2) })
    for (let tries = 0; ; tries++) {
      try { await web.trx.getCurrentBlock(); break } catch (error) { if (tries > 100) throw error }
      await new Promise((done) => setTimeout(done, 50))
    }
    const info = async (id) => {
      for (let tries = 0; tries < 200; tries++) {
        const found = await web.trx.getUnconfirmedTransactionInfo(id)
        if (found.id) return found
        await new Promise((done) => setTimeout(done, 30))
      }
      throw new Error(`${id} is in no block`)
    }
    const deploy = async (name, args) => {
      const { abi, bytecode } = artifact(name)
      const data = encodeDeployData({ abi, bytecode, args }).slice(2)
      const transaction = await web.transactionBuilder.createSmartContract({ abi: [], bytecode: data, feeLimit: 15_000_000_000, name, ownerAddress: web.defaultAddress.hex }, web.defaultAddress.hex)
      const sent = await web.trx.sendRawTransaction(await web.trx.sign(transaction))
      const found = await info(sent.txid ?? transaction.txID)
      if (found.receipt.result !== 'SUCCESS') throw new Error(`${name}: ${found.receipt.result}`)
      return found.contract_address
    }
    const rows = []
    const limits = { 21: 116307, 50: 220380, 100: 400992 }
    for (const count of [21, 50, 100]) {
      const set = makeSet(count)
      const implementation = await deploy('TronGateway', [settings, '0x0000000000000000000000000000000000000009'])
      const gateway = await deploy('GatewayProxy', [`0x${implementation.slice(2)}`, initialize(set)])
      const address = `0x${gateway.slice(2)}`
      let energy
      for (const seq of [1, 2]) {
        const { cp, dests, digest } = checkpoint(set, 728126428n, address, seq)
        const own = dests.filter((dest) => dest.gateway === address)
        const body = checkpoint(set, 728126428n, address, seq)
        const data = encodeFunctionData({ abi: gatewayAbi, functionName: 'submitCheckpoint', args: [cp, dests, set.encoded, await signatures(set, body.digest === digest ? digest : body.digest)] })
        if (!own.length) throw new Error('no destination')
        const { transaction } = await web.transactionBuilder.triggerSmartContract(gateway, '', { feeLimit: 10_000_000_000, rawParameter: '', input: data.slice(2) }, [], web.defaultAddress.hex)
        const sent = await web.trx.sendRawTransaction(await web.trx.sign(transaction))
        const found = await info(sent.txid ?? transaction.txID)
        if (found.receipt.result !== 'SUCCESS') throw new Error(`checkpoint of ${count} on TRON: ${found.receipt.result}`)
        energy = found.receipt.energy_usage_total
      }
      rows.push([`TRON energy, ${count} members, ${set.enough} signatures in batches`, energy, limits[count]])
    }
    return rows
  } finally {
    sim.kill('SIGKILL')
  }
}

async function main() {
  const rows = [...(await evm()), ...(await tron())]
  let over = 0
  for (const [what, gas, limit] of rows) {
    console.log(`${what.padEnd(52)} ${String(gas).padStart(9)}  at most ${String(limit).padStart(7)}${gas > limit ? '  TOO MUCH' : ''}`)
    over += gas > limit ? 1 : 0
  }
  process.exit(over ? 1 : 0)
}

main().catch((error) => {
  console.error(error.shortMessage ?? error.message ?? error)
  if (process.env.DEBUG) console.error(error)
  process.exit(1)
})
