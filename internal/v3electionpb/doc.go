// Package v3electionpb has the messages of etcd's election service.
//
// It is generated from v3election.proto, which says the same as the definition that etcd publishes:
// in etcd the Go package belongs to the server, which is the thing being built here. Nothing else
// is in it.
package v3electionpb

//go:generate go -C ../../scripts/protogen run . v3election.proto=../../internal/v3electionpb/v3election.proto
