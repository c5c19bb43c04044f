// Package v3lockpb has the messages of etcd's lock service.
//
// It is generated from v3lock.proto, which says the same as the definition that etcd publishes: in
// etcd the Go package belongs to the server, which is the thing being built here. Nothing else is
// in it.
package v3lockpb

//go:generate go -C ../../scripts/protogen run . v3lock.proto=../../internal/v3lockpb/v3lock.proto
