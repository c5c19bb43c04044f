// Package v3electionpb has the messages of etcd's election service.
//
// It is generated from v3election.proto, which is equivalent to the definition that etcd publishes:
// in etcd the Go package belongs to the server, which this project reimplements.
package v3electionpb

//go:generate go -C ../../scripts/protogen run . v3election.proto=../../internal/v3electionpb/v3election.proto
