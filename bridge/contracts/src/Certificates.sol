// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

import {Digests} from "./Digests.sol";
import {GatewayStorage} from "./GatewayStorage.sol";

/// @notice Signatures of more than two thirds of a set. A set is `id u64 | total power u64 | (key, power u64)*`, members by
/// ascending key; signatures are `(index, r, s, v)*` by ascending index.
abstract contract Certificates is GatewayStorage {
    uint256 internal constant SET_HEAD = 16;
    uint256 internal constant MEMBER_BYTES = 28;
    uint256 internal constant SIGNATURE_BYTES = 66;
    uint256 internal constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// Checks a certificate and gives its set's hash. Whether that set counts is the caller's question.
    function _certified(bytes32 digest, bytes calldata set, bytes calldata signatures)
        internal
        view
        returns (bytes32 hash)
    {
        hash = Digests.setHash(BRIDGE_ID, set);
        if (signatures.length % SIGNATURE_BYTES != 0) revert BadSignature(0);
        uint256 count = signatures.length / SIGNATURE_BYTES;
        uint256 power = _verifySignatures(digest, set, signatures, count);
        uint256 total = uint64(bytes8(set[8:16]));
        if (total == 0 || power * 3 <= total * 2) revert TooLittlePower(power, total);
        if (count < MIN_SIGNERS) revert TooFewSigners(count, MIN_SIGNERS);
    }

    /// Power of the signers; reverts unless each signature is its member's and indices ascend.
    function _verifySignatures(bytes32 digest, bytes calldata set, bytes calldata signatures, uint256 count)
        internal
        view
        virtual
        returns (uint256 power);

    /// Whether a set's certificate counts now, and whether it is the set in force. An expired one counts only where it can
    /// do no harm: as proof that it contradicts itself.
    function _requireKnown(bytes32 hash, bool evenExpired) internal view returns (bool current) {
        if (hash == setHash) {
            if (!evenExpired && _expired()) revert SetExpired();
            return true;
        }
        if (hash == 0 || hash != prevSetHash || _now() > status.prevValidUntil) revert UnknownSet(hash);
        return false;
    }

    /// Checks a whole set once, when it does not come with a certificate.
    function _checkSet(bytes calldata set) internal view returns (bytes32) {
        if (set.length < SET_HEAD + MEMBER_BYTES || (set.length - SET_HEAD) % MEMBER_BYTES != 0) revert MalformedSet();
        uint256 count = (set.length - SET_HEAD) / MEMBER_BYTES;
        if (count > 255 || count < MIN_SIGNERS) revert MalformedSet();
        uint256 sum;
        uint160 last;
        for (uint256 i; i < count; ++i) {
            uint256 at = SET_HEAD + i * MEMBER_BYTES;
            uint160 key = uint160(bytes20(set[at:at + 20]));
            uint64 power = uint64(bytes8(set[at + 20:at + 28]));
            if (key <= last || power == 0) revert MalformedSet();
            last = key;
            sum += power;
        }
        if (sum != uint64(bytes8(set[8:16]))) revert MalformedSet();
        return Digests.setHash(BRIDGE_ID, set);
    }
}
