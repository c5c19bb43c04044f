package main

import (
	"fmt"
	"os"
	"time"

	"cairn/internal/auth"
	"cairn/internal/config"
)

// readJWT reads the keys of JSON web tokens; for simple tokens it returns nil.
func readJWT(t config.AuthToken) (*auth.JWT, error) {
	if !t.JWT {
		return nil, nil
	}
	j, err := auth.NewJWT(auth.JWTOptions{Method: t.SignMethod, PublicKey: t.PubKey, PrivateKey: t.PrivKey, TTL: t.TTL}, time.Now, os.ReadFile)
	if err != nil {
		return nil, fmt.Errorf("--auth-token: %w", err)
	}
	return j, nil
}
