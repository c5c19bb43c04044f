// Package peer owns the connections between the members of a cluster: streams of raft messages,
// transfers of snapshots, calls of one member by another, and the other paths of the peer port.
//
// It does not own the list of members (membership does; SetPeers passes it on), the meaning of a
// message (raft), or the content of a snapshot (replica). Messages may be lost but not repeated;
// raft repairs losses.
//
// # Lanes
//
// A member opens two streams to each peer and writes to them; its peers do the same towards it
// (docs/formats/peer.md). The control lane has small messages that must arrive in time: heartbeats,
// votes, acknowledgements, read confirmations. The append lane has everything with entries, and
// every MsgApp even when it is empty: if an empty one overtook others, the follower would reject
// it, and raft would fall back to probing. A snapshot has its own connection. So an append of many
// megabytes, or a snapshot over a slow link, never delays a heartbeat.
//
// # Invariants
//
//   - Messages of a lane are received in the order in which they were sent, each at most once
//     (TestMessagesOfALaneArriveInOrder).
//   - Send takes no time that depends on a peer: messages above the lane's limits are dropped
//     (TestMemoryIsBoundedWhenThePeerDoesNotRead).
//   - The memory that a peer can occupy is bounded: queued messages, one message that is being
//     received, the window of a snapshot, the body of a call, the number of streams
//     (TestALargeFrameIsPaidForAsItComes, TestStreamsAreBounded).
//   - Callbacks are never called from within Send, SetPeers or SendSnapshot.
//
// # Concurrency
//
// All methods may be called from any goroutine. Each lane of a peer has one goroutine that connects
// and writes, and one that reads the peer's signs of life while connected; each stream that a peer
// has opened has one that reads and one that writes signs of life. Close stops all of them and
// waits for them.
package peer
