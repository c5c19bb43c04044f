package grpcproxy

import (
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// inCluster returns the range of the cluster for a client's range in the namespace.
func (p *Proxy) inCluster(key, end string) (clusterKey, clusterEnd string) {
	if p.Namespace == "" {
		return key, end
	}
	switch end {
	case "":
	case "\x00":
		end = clientv3.GetPrefixRangeEnd(p.Namespace)
	default:
		end = p.Namespace + end
	}
	return p.Namespace + key, end
}

// stripEvents removes the namespace from the keys of events.
func (p *Proxy) stripEvents(events []*mvccpb.Event) {
	n := len(p.Namespace)
	if n == 0 {
		return
	}
	for _, e := range events {
		e.Kv.Key = e.Kv.Key[n:]
		if e.PrevKv != nil {
			e.PrevKv.Key = e.PrevKv.Key[n:]
		}
	}
}
