// Uniswap v2 and v3 as npm has them, built by their authors: pools, positions and swaps, every amount computed here as well.
//
//   node uniswap.mjs DEVNET.json
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import {
  AbiCoder, Contract, ContractFactory, JsonRpcProvider, MaxUint256, Signature, Wallet, decodeBase64, encodeBytes32String, getCreate2Address,
  keccak256, parseEther, solidityPacked, solidityPackedKeccak256, toUtf8String,
} from 'ethers'

const require = createRequire(import.meta.url)
const devnet = JSON.parse(readFileSync(process.argv[2], 'utf8'))
// ethers answers a repeated question from its cache for 250 ms; a block here is final sooner.
const provider = new JsonRpcProvider(devnet.validators[0].rpc, undefined, { pollingInterval: 50, cacheTimeout: -1 })
const admin = new Wallet(devnet.accounts[0].privateKey, provider)
const { chainId } = await provider.getNetwork()
const start = await provider.getBlockNumber()
const LATER = 10_000_000_000n
const ok = (words) => console.log(`ok ${words}`)
const mined = async (sent) => (await sent).wait()
const prefixed = (code) => (code.startsWith('0x') ? code : `0x${code}`)

const v2Core = (name) => require(`@uniswap/v2-core/build/${name}.json`)
const v2 = (name) => require(`@uniswap/v2-periphery/build/${name}.json`)
const v3Core = (name) => require(`@uniswap/v3-core/artifacts/contracts/${name}.sol/${name}.json`)
const v3 = (name, folder = '') => require(`@uniswap/v3-periphery/artifacts/contracts/${folder}${name}.sol/${name}.json`)
const pairCode = prefixed(v2Core('UniswapV2Pair').bytecode)
const pool3Code = v3Core('UniswapV3Pool').bytecode

async function deploy({ abi, bytecode, linkReferences = {} }, args = [], libraries = {}) {
  let code = prefixed(bytecode)
  for (const [library, places] of Object.values(linkReferences).flatMap(Object.entries)) {
    for (const { start: at, length } of places) {
      code = code.slice(0, 2 + at * 2) + libraries[library].target.slice(2) + code.slice(2 + (at + length) * 2)
    }
  }
  const contract = await new ContractFactory(abi, code, admin).deploy(...args)
  return contract.waitForDeployment()
}

// Pairs and pools sum up prices over time: in a later second than the estimate's, a swap writes two slots more.
const SUMS = 50_000n

/** Sends a call with the gas that was estimated for it: enough, and not much more than it takes. */
async function send(contract, method, args, overrides = {}) {
  const estimate = await contract[method].estimateGas(...args, overrides)
  const receipt = await mined(contract[method](...args, { ...overrides, gasLimit: estimate + SUMS }))
  assert.equal(receipt.status, 1)
  // What is cleared is paid back only at the end, up to a fifth.
  assert.ok((estimate - SUMS) * 3n < receipt.gasUsed * 4n, `${method}: estimated ${estimate}, used ${receipt.gasUsed}`)
  return receipt
}

const logged = (contract, receipt, name) =>
  receipt.logs.filter((log) => log.address === contract.target).map((log) => contract.interface.parseLog(log)).find((log) => log.name === name).args

async function fails(reason, attempt) {
  const error = await attempt.then(() => assert.fail(`expected ${reason}`), (caught) => caught)
  assert.deepEqual([error.code, error.reason], ['CALL_EXCEPTION', reason], error.message)
}

const weth = await deploy(v2('WETH9'))
const SUPPLY = parseEther('1000000')
const made = [await deploy(v2('ERC20'), [SUPPLY]), await deploy(v2('ERC20'), [SUPPLY])]
const [token0, token1] = made.sort((a, b) => (BigInt(a.target) < BigInt(b.target) ? -1 : 1))
const balances = async () => [await token0.balanceOf(admin.address), await token1.balanceOf(admin.address)]
const less = (after, before) => after.map((value, at) => value - before[at])

function root(value) {
  let [low, high] = [0n, 1n << 128n]
  while (low < high) {
    const middle = (low + high + 1n) >> 1n
    if (middle * middle <= value) low = middle
    else high = middle - 1n
  }
  return low
}

async function version2() {
  const factory = await deploy(v2Core('UniswapV2Factory'), [admin.address])
  const router = await deploy(v2('UniswapV2Router02'), [factory.target, weth.target])
  for (const token of [token0, token1]) await mined(token.approve(router.target, MaxUint256))
  const [a, b] = [parseEther('1000'), parseEther('4000')]
  const created = await send(router, 'addLiquidity', [token0.target, token1.target, a, b, 0, 0, admin.address, LATER])
  const pairAddress = getCreate2Address(factory.target, solidityPackedKeccak256(['address', 'address'], [token0.target, token1.target]), keccak256(pairCode))
  assert.equal(await factory.getPair(token0.target, token1.target), pairAddress)
  assert.deepEqual(logged(factory, created, 'PairCreated').toArray(), [token0.target, token1.target, pairAddress, 1n])
  const pair = new Contract(pairAddress, v2Core('UniswapV2Pair').abi, admin)
  const minted = root(a * b)
  assert.deepEqual([await pair.totalSupply(), await pair.balanceOf(admin.address)], [minted, minted - 1000n])
  ok('v2: a pair where CREATE2 puts it, and its first liquidity')

  let reserves = [a, b]
  for (const [from, amount] of [[0, parseEther('10')], [1, parseEther('77')]]) {
    const path = from === 0 ? [token0.target, token1.target] : [token1.target, token0.target]
    const withFee = amount * 997n
    const out = (withFee * reserves[1 - from]) / (reserves[from] * 1000n + withFee)
    assert.deepEqual((await router.getAmountsOut(amount, path)).toArray(), [amount, out])
    await fails('UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT', router.swapExactTokensForTokens(amount, out + 1n, path, admin.address, LATER))
    const before = await balances()
    const receipt = await send(router, 'swapExactTokensForTokens', [amount, out, path, admin.address, LATER])
    const change = from === 0 ? [-amount, out] : [out, -amount]
    assert.deepEqual(less(await balances(), before), change)
    reserves = less(reserves, change)
    assert.deepEqual(logged(pair, receipt, 'Sync').toArray(), reserves)
    assert.deepEqual((await pair.getReserves()).toArray().slice(0, 2), reserves)
    const { timestamp } = await provider.getBlock(receipt.blockNumber)
    assert.equal((await pair.getReserves())[2], BigInt(timestamp))
  }
  const swaps = await pair.queryFilter(pair.filters.Swap(router.target, null, null, null, null, admin.address), start)
  assert.deepEqual(swaps.map(({ args }) => [args.amount0In > 0n, args.amount1In > 0n]), [[true, false], [false, true]])
  assert.equal((await pair.queryFilter('Sync', start)).length, 3)
  assert.equal((await pair.queryFilter(pair.filters.Swap(token0.target), start)).length, 0)
  await fails('UniswapV2Router: EXPIRED', router.swapExactTokensForTokens(1n, 0n, [token0.target, token1.target], admin.address, 1n))
  ok('v2: swaps both ways by the formula, logs by their topics, reasons of failure')

  await send(router, 'addLiquidityETH', [token0.target, parseEther('50'), 0, 0, admin.address, LATER], { value: parseEther('5') })
  const path = [weth.target, token0.target]
  const [, bought] = await router.getAmountsOut(parseEther('1'), path)
  const before = await provider.getBalance(admin.address)
  const buy = await send(router, 'swapExactETHForTokens', [bought, path, admin.address, LATER], { value: parseEther('1') })
  assert.equal(before - (await provider.getBalance(admin.address)), parseEther('1') + buy.fee)
  const [, sold] = await router.getAmountsOut(bought, path.toReversed())
  const middle = await provider.getBalance(admin.address)
  const sell = await send(router, 'swapExactTokensForETH', [bought, sold, path.toReversed(), admin.address, LATER])
  assert.equal((await provider.getBalance(admin.address)) - middle, sold - sell.fee)
  ok('v2: coins through WETH, with fees to the last wei')

  const held = await pair.balanceOf(admin.address)
  const types = { Permit: [['address', 'owner'], ['address', 'spender'], ['uint256', 'value'], ['uint256', 'nonce'], ['uint256', 'deadline']].map(([type, name]) => ({ type, name })) }
  const domain = { name: 'Uniswap V2', version: '1', chainId, verifyingContract: pairAddress }
  const message = { owner: admin.address, spender: router.target, value: held, nonce: 0n, deadline: LATER }
  const { v, r, s } = Signature.from(await admin.signTypedData(domain, types, message))
  const tokens = await balances()
  await send(router, 'removeLiquidityWithPermit', [token0.target, token1.target, held, 0, 0, admin.address, LATER, false, v, r, s])
  assert.deepEqual(less(await balances(), tokens), reserves.map((reserve) => (held * reserve) / minted))
  ok('v2: liquidity taken out by a signed permit')
}

const Q96 = 1n << 96n
const up = (value, by) => (value + by - 1n) / by

/** A swap within one range of liquidity: what comes out and the price afterwards. */
function within(liquidity, price, zeroForOne, amount) {
  const paid = (amount * 997_000n) / 1_000_000n
  if (zeroForOne) {
    const next = up(liquidity * Q96 * price, liquidity * Q96 + paid * price)
    return { out: (liquidity * (price - next)) / Q96, next }
  }
  const next = price + (paid * Q96) / liquidity
  return { out: (liquidity * Q96 * (next - price)) / next / price, next }
}

async function version3() {
  const factory = await deploy(v3Core('UniswapV3Factory'))
  const router = await deploy(v3('SwapRouter'), [factory.target, weth.target])
  const NFTDescriptor = await deploy(v3('NFTDescriptor', 'libraries/'))
  const descriptor = await deploy(v3('NonfungibleTokenPositionDescriptor'), [weth.target, encodeBytes32String('BTT')], { NFTDescriptor })
  const positions = await deploy(v3('NonfungiblePositionManager'), [factory.target, weth.target, descriptor.target])
  const quoter = await deploy(v3('QuoterV2', 'lens/'), [factory.target, weth.target])
  ok('v3: factory, router, linked descriptor, positions, quoter')

  for (const token of [token0, token1]) for (const { target } of [router, positions]) await mined(token.approve(target, MaxUint256))
  const position = (tickLower, tickUpper, amount) => ({
    token0: token0.target, token1: token1.target, fee: 3000, tickLower, tickUpper, amount0Desired: amount, amount1Desired: amount,
    amount0Min: 0, amount1Min: 0, recipient: admin.address, deadline: LATER,
  })
  const call = (name, args) => positions.interface.encodeFunctionData(name, args)
  const receipt = await send(positions, 'multicall', [[
    call('createAndInitializePoolIfNecessary', [token0.target, token1.target, 3000, Q96]),
    call('mint', [position(-887_220, 887_220, parseEther('5000'))]),
  ]])
  const salt = keccak256(AbiCoder.defaultAbiCoder().encode(['address', 'address', 'uint24'], [token0.target, token1.target, 3000]))
  const poolAddress = getCreate2Address(factory.target, salt, keccak256(pool3Code))
  assert.equal(await factory.getPool(token0.target, token1.target, 3000), poolAddress)
  const pool = new Contract(poolAddress, v3Core('UniswapV3Pool').abi, admin)
  const { liquidity, tokenId } = logged(positions, receipt, 'IncreaseLiquidity')
  assert.deepEqual([tokenId, await pool.liquidity(), (await positions.positions(1n)).liquidity], [1n, liquidity, liquidity])
  ok('v3: a pool where CREATE2 puts it, and a position, in one multicall')

  const swap = (zeroForOne, amountIn) => {
    const [tokenIn, tokenOut] = zeroForOne ? [token0.target, token1.target] : [token1.target, token0.target]
    return {
      quoted: quoter.quoteExactInputSingle.staticCall({ tokenIn, tokenOut, amountIn, fee: 3000, sqrtPriceLimitX96: 0 }),
      order: (least) => ({ tokenIn, tokenOut, fee: 3000, recipient: admin.address, deadline: LATER, amountIn, amountOutMinimum: least, sqrtPriceLimitX96: 0 }),
    }
  }
  const perform = async (zeroForOne, amountIn) => {
    const { quoted, order } = swap(zeroForOne, amountIn)
    const { amountOut, sqrtPriceX96After, initializedTicksCrossed } = await quoted
    await fails('Too little received', router.exactInputSingle(order(amountOut + 1n)))
    const before = await balances()
    const event = logged(pool, await send(router, 'exactInputSingle', [order(amountOut)]), 'Swap')
    const change = zeroForOne ? [-amountIn, amountOut] : [amountOut, -amountIn]
    assert.deepEqual(less(await balances(), before), change)
    assert.deepEqual([-event.amount0, -event.amount1, event.sqrtPriceX96], [...change, sqrtPriceX96After])
    assert.equal((await pool.slot0()).sqrtPriceX96, sqrtPriceX96After)
    return { amountOut, price: sqrtPriceX96After, crossed: initializedTicksCrossed }
  }
  let price = Q96
  // The price does not come back to tick 0: there a word of the pool's bitmap ends, and a swap goes on in a second, rounded, step.
  for (const [zeroForOne, amountIn] of [[true, parseEther('100')], [false, parseEther('50')]]) {
    const { out, next } = within(liquidity, price, zeroForOne, amountIn)
    const done = await perform(zeroForOne, amountIn)
    assert.deepEqual([done.amountOut, done.price, done.crossed], [out, next, 0n])
    price = next
  }
  ok('v3: swaps both ways as quoted and as the formula says')

  await send(positions, 'mint', [position(-600, 1200, parseEther('500'))])
  const across = await perform(false, parseEther('4000'))
  assert.ok(across.crossed >= 1n)
  const back = { tokenIn: token0.target, tokenOut: token1.target, amount: parseEther('3000'), fee: 3000, sqrtPriceLimitX96: 0 }
  const { amountIn } = await quoter.quoteExactOutputSingle.staticCall(back)
  const { amount: amountOut, ...route } = back
  const start0 = await balances()
  await send(router, 'exactOutputSingle', [{ ...route, recipient: admin.address, deadline: LATER, amountOut, amountInMaximum: amountIn }])
  assert.deepEqual(less(await balances(), start0), [-amountIn, amountOut])
  const path = solidityPacked(['address', 'uint24', 'address'], [token1.target, 3000, token0.target])
  const along = await quoter.quoteExactInput.staticCall(path, 12345n)
  const start1 = await balances()
  await send(router, 'exactInput', [{ path, recipient: admin.address, deadline: LATER, amountIn: 12345n, amountOutMinimum: along.amountOut }])
  assert.deepEqual(less(await balances(), start1), [along.amountOut, -12345n])
  const swaps = await pool.queryFilter(pool.filters.Swap(router.target, admin.address), start)
  assert.deepEqual(swaps.map(({ args }) => args.amount0 > 0n), [true, false, false, true, false])
  ok('v3: across ticks, exact output, along a path, and all of them in the logs')

  const uri = await positions.tokenURI(1n)
  const [type, data] = uri.split(',')
  const { name, image } = JSON.parse(toUtf8String(decodeBase64(data)))
  assert.equal(type, 'data:application/json;base64')
  assert.ok(name.startsWith('Uniswap - 0.3%') && image.startsWith('data:image/svg+xml;base64,'), name)

  const MAX128 = (1n << 128n) - 1n
  const decrease = { tokenId: 1n, liquidity, amount0Min: 0, amount1Min: 0, deadline: LATER }
  const collect = { tokenId: 1n, recipient: admin.address, amount0Max: MAX128, amount1Max: MAX128 }
  const before = await balances()
  const out = await send(positions, 'multicall', [[call('decreaseLiquidity', [decrease]), call('collect', [collect]), call('burn', [1n])]])
  const principal = logged(positions, out, 'DecreaseLiquidity')
  const got = logged(positions, out, 'Collect')
  assert.deepEqual(less(await balances(), before), [got.amount0, got.amount1])
  assert.ok(got.amount0 > principal.amount0 && got.amount1 > principal.amount1, 'fees come on top')
  await fails('ERC721: owner query for nonexistent token', positions.ownerOf(1n))
  ok('v3: a position drawn as a picture, taken out with its fees, burnt')
}

await version2()
await version3()
provider.destroy()
