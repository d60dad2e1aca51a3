// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Digests} from "../src/Digests.sol";
import {EvmGateway} from "../src/EvmGateway.sol";
import {GatewayProxy} from "../src/GatewayProxy.sol";
import {GatewayStorage} from "../src/GatewayStorage.sol";
import {IGateway} from "../src/IGateway.sol";
import {Commands} from "../src/Commands.sol";
import {TronGateway} from "../src/TronGateway.sol";

/// forge's cheats, as far as they are used here.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 time) external;
    function prank(address who) external;
    function deal(address who, uint256 amount) external;
    function chainId(uint256 id) external;
    function expectRevert() external;
    function expectRevert(bytes4 selector) external;
    function expectPartialRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function readFile(string calldata path) external view returns (string memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key) external pure returns (bytes32[] memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function snapshotGasLastCall(string calldata group, string calldata name) external returns (uint256);
    function assume(bool condition) external pure;
}

/// What TRON's precompile at 9 does.
contract BatchVerifier {
    fallback(bytes calldata input) external returns (bytes memory) {
        (bytes32 digest, bytes[] memory signatures, address[] memory signers) =
            abi.decode(input, (bytes32, bytes[], address[]));
        require(signatures.length == signers.length && signatures.length != 0 && signatures.length <= 16);
        require(input.length == 5 * 32 + signatures.length * 6 * 32);
        bytes memory result = new bytes(32);
        for (uint256 i; i < signatures.length; ++i) {
            bytes memory sig = signatures[i];
            bytes32 r;
            bytes32 s;
            assembly {
                r := mload(add(sig, 32))
                s := mload(add(sig, 64))
            }
            address signer = ecrecover(digest, uint8(sig[64]), r, s);
            if (signer != address(0) && signer == signers[i]) result[i] = 0x01;
        }
        return result;
    }
}

/// A gateway with a set of test keys, and helpers that act as its members and as the ledger.
abstract contract Base {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
    bytes32 internal constant BRIDGE = keccak256("test bridge");
    address internal constant NATIVE = 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE;
    uint256 internal constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    struct Set {
        uint256[] keys;
        uint64[] powers;
        bytes encoded;
        bytes32 hash;
    }

    Commands internal gateway;
    uint64 internal seq;
    uint64 internal sideBlock;
    uint64 internal commands;
    address internal constant PAUSER = address(0xAA01);

    function settings() internal pure returns (IGateway.Settings memory) {
        return IGateway.Settings({
            bridgeId: BRIDGE,
            minSigners: 3,
            minRotation: 600,
            overlap: 1 days,
            expiry: 14 days,
            largeDelay: 1 days,
            bucketWindow: 1 days,
            upgradeDelay: 7 days,
            recoveryDelay: 14 days,
            pauseSeconds: 72 hours,
            pauseRest: 30 days
        });
    }

    /// A set of `count` keys with these powers in turn.
    function makeSet(uint64 id, uint256 count, uint64 power) internal pure returns (Set memory set) {
        set.keys = new uint256[](count);
        set.powers = new uint64[](count);
        for (uint256 i; i < count; ++i) {
            set.keys[i] = uint256(keccak256(abi.encode("key", id, i))) % (ORDER - 1) + 1;
            set.powers[i] = power;
        }
        for (uint256 i = 1; i < count; ++i) {
            for (uint256 j = i; j > 0 && vm.addr(set.keys[j]) < vm.addr(set.keys[j - 1]); --j) {
                (set.keys[j], set.keys[j - 1]) = (set.keys[j - 1], set.keys[j]);
            }
        }
        set.encoded = abi.encodePacked(id, uint64(count) * power);
        for (uint256 i; i < count; ++i) {
            set.encoded = abi.encodePacked(set.encoded, vm.addr(set.keys[i]), set.powers[i]);
        }
        set.hash = keccak256(abi.encode(Digests.SET_TYPE, BRIDGE, keccak256(set.encoded)));
    }

    function deploy(Set memory set) internal returns (Commands) {
        return wrap(address(new EvmGateway(settings())), set);
    }

    function wrap(address implementation, Set memory set) internal returns (Commands) {
        address[] memory pausers = new address[](1);
        pausers[0] = PAUSER;
        address[] memory recoverers = new address[](3);
        for (uint160 i; i < 3; ++i) {
            recoverers[i] = address(0xBB01 + i);
        }
        bytes memory data =
            abi.encodeCall(Commands.initialize, (set.encoded, uint64(block.timestamp), pausers, recoverers, 2));
        return Commands(address(new GatewayProxy(implementation, data)));
    }

    /// Signatures of the first `count` members.
    function sign(Set memory set, bytes32 digest, uint256 count) internal pure returns (bytes memory out) {
        for (uint256 i; i < count; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(set.keys[i], digest);
            out = abi.encodePacked(out, uint8(i), r, s, v);
        }
    }

    function enough(Set memory set) internal pure returns (uint256) {
        return set.keys.length * 2 / 3 + 1;
    }

    function digestOf(IGateway.Checkpoint memory cp, IGateway.Dest[] memory dests) internal pure returns (bytes32) {
        bytes32 body = keccak256(
            abi.encode(
                Digests.CHECKPOINT_TYPE,
                cp.seq,
                cp.lastBlock,
                cp.lastBlockHash,
                cp.timestamp,
                keccak256(abi.encode(dests)),
                cp.setHash,
                cp.nextSetHash
            )
        );
        return keccak256(abi.encodePacked(hex"1901", Digests.domain(BRIDGE), body));
    }

    function next(Set memory set, bytes32 nextHash) internal returns (IGateway.Checkpoint memory cp) {
        seq += 1;
        sideBlock += 20;
        cp = IGateway.Checkpoint({
            seq: seq,
            lastBlock: sideBlock,
            lastBlockHash: keccak256(abi.encode("block", sideBlock)),
            timestamp: uint64(block.timestamp),
            setHash: set.hash,
            nextSetHash: nextHash
        });
    }

    function dest(uint32 treeId, bytes32 root, uint64 count) internal view returns (IGateway.Dest[] memory dests) {
        dests = new IGateway.Dest[](1);
        dests[0] = IGateway.Dest(uint64(block.chainid), address(gateway), treeId, root, count);
    }

    function submit(Set memory set, IGateway.Checkpoint memory cp, IGateway.Dest[] memory dests) internal {
        gateway.submitCheckpoint(cp, dests, set.encoded, sign(set, digestOf(cp, dests), enough(set)));
    }

    function command(Set memory set, uint8 kind, bytes memory payload) internal {
        commands += 1;
        bytes32 digest = commandDigest(commands, kind, payload);
        gateway.execute(commands, kind, payload, set.encoded, sign(set, digest, enough(set)));
    }

    function commandDigest(uint64 nonce, uint8 kind, bytes memory payload) internal view returns (bytes32) {
        bytes32 body = keccak256(
            abi.encode(
                Digests.COMMAND_TYPE, uint64(block.chainid), address(gateway), nonce, kind, keccak256(payload)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", Digests.domain(BRIDGE), body));
    }

    function mapToken(Set memory set, address token, uint256 floor) internal {
        command(set, 1, abi.encode(token, uint256(1), floor));
    }

    // A tree of two leaves at places 0 and 1, the rest empty.

    /// An empty subtree.
    function zero(uint256) internal pure returns (bytes32) {
        return 0;
    }

    function twoLeaves(bytes32 a, bytes32 b)
        internal
        pure
        returns (bytes32 root, bytes32[32] memory proofA, bytes32[32] memory proofB)
    {
        (proofA[0], proofB[0]) = (b, a);
        root = keccak256(abi.encode(a, b));
        for (uint256 i = 1; i < 32; ++i) {
            proofA[i] = proofB[i] = zero(i);
            root = keccak256(abi.encode(root, zero(i)));
        }
    }

    struct Leaf {
        uint64 index;
        address token;
        address sender;
        address recipient;
        uint256 amount;
        uint256 fee;
    }

    function hashOf(Leaf memory leaf) internal view returns (bytes32) {
        bytes32 inner = keccak256(
            abi.encode(
                Digests.WITHDRAWAL_TYPE,
                BRIDGE,
                uint64(block.chainid),
                address(gateway),
                uint32(1),
                leaf.index,
                leaf.token,
                leaf.sender,
                leaf.recipient,
                leaf.amount,
                leaf.fee
            )
        );
        return keccak256(abi.encode(inner));
    }

    function claim(Leaf memory leaf, bytes32[32] memory proof) internal {
        gateway.claim(1, leaf.index, leaf.token, leaf.sender, leaf.recipient, leaf.amount, leaf.fee, proof);
    }

    function eq(uint256 a, uint256 b) internal pure {
        if (a != b) revert(string.concat("not equal: ", text(a), " and ", text(b)));
    }

    function eq(bytes32 a, bytes32 b) internal pure {
        require(a == b, "hashes differ");
    }

    function yes(bool value) internal pure {
        require(value, "expected");
    }

    function text(uint256 value) private pure returns (string memory) {
        if (value == 0) return "0";
        bytes memory digits;
        while (value != 0) {
            digits = abi.encodePacked(uint8(48 + value % 10), digits);
            value /= 10;
        }
        return string(digits);
    }
}
