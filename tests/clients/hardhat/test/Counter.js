// Tests of the counter that run on the network.
const assert = require('node:assert/strict')
const { ethers, network } = require('hardhat')

describe('Counter', function () {
  this.timeout(20_000)
  let counter, owner, user

  before(async () => {
    ;[owner, user] = await ethers.getSigners()
    counter = await ethers.deployContract('Counter', [1])
    await counter.waitForDeployment()
  })

  const failure = async (attempt) => {
    const error = await attempt.then(() => assert.fail('it did not fail'), (caught) => caught)
    return error.data ? counter.interface.parseError(error.data) : error
  }

  it('is what was compiled', async () => {
    const { deployedBytecode } = await require('hardhat').artifacts.readArtifact('Counter')
    assert.equal(await ethers.provider.getCode(counter.target), deployedBytecode)
    assert.equal(await network.provider.send('eth_chainId'), ethers.toQuantity((await ethers.provider.getNetwork()).chainId))
  })

  it('counts, and tells who counted', async () => {
    const receipt = await (await counter.connect(user).add(5, { value: 1000n })).wait()
    const [event] = await counter.queryFilter(counter.filters.Counted(user.address), receipt.blockNumber)
    assert.deepEqual([...event.args], [user.address, 6n])
    assert.equal(await ethers.provider.getBalance(counter.target), 1000n)
  })

  it('hears events', async () => {
    const heard = new Promise((resolve) => counter.once('Counted', (by, value) => resolve([by, value])))
    await (await counter.add(1)).wait()
    assert.deepEqual(await heard, [owner.address, 7n])
  })

  it('fails with its own errors', async () => {
    const much = await failure(counter.add(94))
    assert.deepEqual([much.name, ...much.args], ['TooMuch', 101n, 100n])
    const asked = await failure(counter.add.staticCall(95))
    assert.deepEqual([asked.name, ...asked.args], ['TooMuch', 102n, 100n])
    const stranger = await failure(counter.connect(user).empty(user.address))
    assert.deepEqual([stranger.name, ...stranger.args], ['OwnableUnauthorizedAccount', user.address])
    assert.equal(await counter.value(), 7n)
  })

  it('says words too', async () => {
    const error = await counter.empty(counter.target).then(() => assert.fail('it did not fail'), (caught) => caught)
    assert.match(error.message, /refused/)
  })

  it('is mined and fails when it is sent all the same', async () => {
    const error = await counter.add(94, { gasLimit: 100_000 }).then((sent) => sent.wait()).then(() => assert.fail('it did not fail'), (caught) => caught)
    assert.equal(error.receipt?.status, 0, error.message)
  })

  it('pays out, to the wei', async () => {
    const before = await ethers.provider.getBalance(user.address)
    await (await counter.empty(user.address)).wait()
    assert.equal((await ethers.provider.getBalance(user.address)) - before, 1000n)
  })

  it('takes every kind of transaction', async () => {
    const { gasPrice } = await ethers.provider.getFeeData()
    for (const request of [{ type: 0, gasPrice }, { type: 1, gasPrice, accessList: [{ address: counter.target, storageKeys: [] }] }, { type: 2 }]) {
      const receipt = await (await user.sendTransaction({ to: owner.address, value: 1n, ...request })).wait()
      assert.deepEqual([receipt.status, receipt.type], [1, request.type])
    }
  })
})
