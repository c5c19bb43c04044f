// Package v3lockpb has the messages of etcd's lock service.
//
// It is generated from v3lock.proto, which is equivalent to the definition that etcd publishes: in
// etcd the Go package belongs to the server, which this project reimplements.
package v3lockpb

//go:generate go -C ../../scripts/protogen run . v3lock.proto=../../internal/v3lockpb/v3lock.proto
