// Package peer owns the connections between the members of a cluster: streams of raft messages,
// transfers of snapshots, calls of one member by another, and what else the peer port serves.
//
// It does not own who the members are (membership does; SetPeers says it), what a message means
// (raft), or what is in a snapshot (replica). Nothing here is lost or repeated by contract: raft
// repairs what a connection loses.
//
// # Lanes
//
// A member opens two streams to each peer and writes to them; its peers do the same towards it
// (docs/formats/peer.md). The control lane has what is small and must be in time: heartbeats,
// votes, acknowledgements, read confirmations. The append lane has everything with entries, and
// every MsgApp even when it is empty: one that overtook those before it would be refused, and raft
// would fall back to probing. A snapshot has a connection of its own. So an append of many
// megabytes, or a snapshot over a slow link, never stands before a heartbeat.
//
// # Invariants
//
//   - Messages of a lane are received in the order in which they were sent, each at most once.
//   - Send takes no time that depends on a peer: what does not fit into the lane's bounds is
//     dropped.
//   - What a peer can make this member hold is bounded: messages that wait, one message that is
//     being received, the window of a snapshot, the body of a call, the number of streams.
//   - Callbacks are never called from within Send, SetPeers or SendSnapshot.
//
// # Concurrency
//
// All methods may be called from any goroutine. Each lane of a peer has one goroutine that connects
// and writes, and one that reads what comes back while it is connected; each stream that a peer has
// opened has one that reads and one that writes signs of life. Close ends them all and waits for
// them.
package peer
