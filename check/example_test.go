package check_test

import (
	"fmt"

	"cairn/check"
)

// A client reads an old value after a put of a new one was acknowledged.
func Example() {
	put := func(value string) check.Request {
		return check.Request{Put: &check.Put{Key: "k", Value: value}}
	}
	stale := check.KV{Key: "k", Value: "1", Create: 2, Mod: 2, Version: 1}
	h := check.History{Operations: []check.Operation{
		{Client: 1, Call: 10, Return: 20, Request: put("1"), Response: check.Response{Revision: 2}},
		{Client: 1, Call: 30, Return: 40, Request: put("2"), Response: check.Response{Revision: 3}},
		{
			Client: 2, Call: 50, Return: 60, Member: "n2",
			Request:  check.Request{Range: &check.Range{Key: "k"}},
			Response: check.Response{Revision: 2, Range: &check.RangeResponse{KVs: []check.KV{stale}, Count: 1}},
		},
	}}
	for _, v := range check.Check(&h, check.Options{}).Violations {
		fmt.Println(v.Guarantee)
	}

	// The same read is correct while the second put is in progress.
	h.Operations[1].Return = 55
	fmt.Println(check.Check(&h, check.Options{}).Err())
	// Output:
	// linearizable
	// <nil>
}
