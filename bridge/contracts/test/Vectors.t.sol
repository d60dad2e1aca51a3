// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Digests} from "../src/Digests.sol";
import {IGateway} from "../src/IGateway.sol";
import {Base} from "./Base.sol";

/// The library with its arguments in calldata.
contract Exposed {
    function checkpoint(bytes32 bridge, IGateway.Checkpoint calldata cp, IGateway.Dest[] calldata dests)
        external
        pure
        returns (bytes32)
    {
        return Digests.checkpoint(Digests.domain(bridge), cp, dests);
    }

    function command(bytes32 bridge, uint64 chain, address gateway, uint64 nonce, uint8 kind, bytes calldata payload)
        external
        pure
        returns (bytes32)
    {
        return Digests.command(Digests.domain(bridge), chain, gateway, nonce, kind, payload);
    }

    function setHash(bytes32 bridge, bytes calldata set) external pure returns (bytes32) {
        return Digests.setHash(bridge, set);
    }

    function fold(bytes32 leaf, uint256 index, bytes32[32] calldata proof) external pure returns (bytes32) {
        return Digests.fold(leaf, index, proof);
    }
}

/// `bridge/types/vectors.json`, which Rust checks too.
contract VectorsTest is Base {
    string internal json;
    bytes32 internal bridge;
    uint64 internal chain;
    address internal at;
    Exposed internal lib;

    function setUp() public {
        json = vm.readFile("../types/vectors.json");
        bridge = vm.parseJsonBytes32(json, ".bridgeId");
        chain = uint64(vm.parseJsonUint(json, ".rootChainId"));
        at = vm.parseJsonAddress(json, ".gateway");
        lib = new Exposed();
    }

    function number(string memory key) internal view returns (uint256) {
        return vm.parseJsonUint(json, key);
    }

    function hash(string memory key) internal view returns (bytes32) {
        return vm.parseJsonBytes32(json, key);
    }

    function test_deposits() public view {
        bytes32 first = keccak256(abi.encode(Digests.FIRST_ACC_TYPE, bridge, chain, at));
        eq(first, hash(".deposit.accBefore"));
        bytes32 body = keccak256(
            abi.encode(
                Digests.DEPOSIT_TYPE,
                bridge,
                chain,
                at,
                uint64(number(".deposit.nonce")),
                vm.parseJsonAddress(json, ".deposit.token"),
                vm.parseJsonAddress(json, ".deposit.sender"),
                vm.parseJsonAddress(json, ".deposit.recipient"),
                number(".deposit.amount")
            )
        );
        eq(body, hash(".deposit.hash"));
        eq(keccak256(abi.encode(first, body)), hash(".deposit.accAfter"));
    }

    function test_attestations() public view {
        bytes32 name = keccak256("Attest(uint64 rootChainId,address gateway,uint64 toNonce,bytes32 accTo)");
        bytes32 body =
            keccak256(abi.encode(name, chain, at, uint64(number(".deposit.nonce")), hash(".deposit.accAfter")));
        eq(Digests.typed(Digests.domain(bridge), body), hash(".attest.digest"));
    }

    function test_sets_and_checkpoints() public view {
        bytes memory set = vm.parseJsonBytes(json, ".set.encoded");
        eq(lib.setHash(bridge, set), hash(".set.hash"));
        IGateway.Dest[] memory dests = new IGateway.Dest[](1);
        dests[0] = IGateway.Dest(chain, at, 1, hash(".tree.root"), uint64(number(".tree.count")));
        IGateway.Checkpoint memory cp = IGateway.Checkpoint({
            seq: uint64(number(".checkpoint.seq")),
            lastBlock: uint64(number(".checkpoint.lastBlock")),
            lastBlockHash: hash(".checkpoint.lastBlockHash"),
            timestamp: uint64(number(".checkpoint.timestamp")),
            setHash: hash(".set.hash"),
            nextSetHash: hash(".checkpoint.nextSetHash")
        });
        bytes32 digest = lib.checkpoint(bridge, cp, dests);
        eq(digest, hash(".checkpoint.digest"));
        // The first signature is the first member's.
        bytes memory packed = vm.parseJsonBytes(json, ".checkpoint.signatures");
        bytes32 r;
        bytes32 s;
        bytes32 member;
        assembly {
            r := mload(add(packed, 33))
            s := mload(add(packed, 65))
            member := mload(add(set, 48))
        }
        require(ecrecover(digest, uint8(packed[65]), r, s) == address(bytes20(member)), "signer");
    }

    function test_commands() public view {
        bytes memory payload = vm.parseJsonBytes(json, ".command.payload");
        bytes32 digest = lib.command(
            bridge, chain, at, uint64(number(".command.commandNonce")), uint8(number(".command.kind")), payload
        );
        eq(digest, hash(".command.digest"));
    }

    function test_withdrawals_and_proofs() public view {
        bytes32 inner = keccak256(
            abi.encode(
                Digests.WITHDRAWAL_TYPE,
                bridge,
                chain,
                at,
                uint32(1),
                uint64(number(".withdrawal.index")),
                vm.parseJsonAddress(json, ".withdrawal.token"),
                vm.parseJsonAddress(json, ".withdrawal.sender"),
                vm.parseJsonAddress(json, ".withdrawal.recipient"),
                number(".withdrawal.amount"),
                number(".withdrawal.relayerFee")
            )
        );
        bytes32 leaf = keccak256(abi.encode(inner));
        eq(leaf, hash(".withdrawal.leaf"));
        bytes32[] memory list = vm.parseJsonBytes32Array(json, ".withdrawal.proof");
        bytes32[32] memory proof;
        for (uint256 i; i < 32; ++i) {
            proof[i] = list[i];
        }
        uint256 index = number(".withdrawal.index");
        eq(lib.fold(leaf, index, proof), hash(".tree.root"));
        for (uint256 bit; bit < 32 * 256; bit += 41) {
            proof[bit / 256] ^= bytes32(1 << (bit % 256));
            require(lib.fold(leaf, index, proof) != hash(".tree.root"), "a bit does not count");
            proof[bit / 256] ^= bytes32(1 << (bit % 256));
        }
        require(lib.fold(leaf, index ^ 1, proof) != hash(".tree.root"), "the index does not count");
    }
}
