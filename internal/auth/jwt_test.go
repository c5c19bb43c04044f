package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// files is a file system of keys.
type files map[string][]byte

func (f files) read(path string) ([]byte, error) {
	if data, ok := f[path]; ok {
		return data, nil
	}
	return nil, os.ErrNotExist
}

func keyFiles(t *testing.T) files {
	t.Helper()
	f := files{"secret": []byte("a secret of some length, shared by all members"), "empty": {}, "text": []byte("no key")}
	pair := func(name string, key crypto.Signer, err error) {
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		f[name] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
		f[name+".pub"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	pair("rsa", rsaKey, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	pair("other", other, err)
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		pair(name, key, err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	pair("ed", edKey, err)
	return f
}

// TestJWTMethods logs in by each method at a member with both keys and uses the token at one that
// has only the public key.
func TestJWTMethods(t *testing.T) {
	f := keyFiles(t)
	for method, key := range map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "ES256", "ES384": "ES384", "ES512": "ES512", "EdDSA": "ed", "HS256": "secret", "HS384": "secret", "HS512": "secret",
	} {
		t.Run(method, func(t *testing.T) {
			s := newSite(t)
			enabled(t, s)
			o := JWTOptions{Method: method, PrivateKey: key, TTL: time.Minute}
			var err error
			if s.gate.jwt, err = NewJWT(o, func() time.Time { return s.now }, f.read); err != nil {
				t.Fatal(err)
			}
			token := login(t, RootName, s)
			s.wants(token, nil)
			s.wants(token, nil) // from the cache
			if key == "secret" {
				return
			}
			o.PrivateKey, o.PublicKey = "", key+".pub"
			if s.gate.jwt, err = NewJWT(o, func() time.Time { return s.now }, f.read); err != nil {
				t.Fatal(err)
			}
			s.wants(token, nil)
			if _, err := s.gate.Login(t.Context(), RootName, "pw", nil); !errors.Is(err, VerifyOnly) {
				t.Errorf("login without a private key: %v", err)
			}
		})
	}
}

func TestJWTEnds(t *testing.T) {
	f := keyFiles(t)
	s := newSite(t)
	enabled(t, s)
	var err error
	if s.gate.jwt, err = NewJWT(JWTOptions{Method: "ES256", PrivateKey: "ES256", TTL: time.Minute}, func() time.Time { return s.now }, f.read); err != nil {
		t.Fatal(err)
	}
	token := login(t, RootName, s)
	pass(59*time.Second, s)
	s.wants(token, nil)
	pass(2*time.Second, s) // use does not extend its validity
	s.wants(token, BadToken)
	s.wants(token, BadToken)

	token = login(t, RootName, s)
	mustLog(t, &Command{Kind: KindV3RoleAdd, Name: "r"}, s)
	s.wants(token, OldRevision)
	s.wants(login(t, RootName, s), nil)

	// Forged and foreign tokens: signed by another key, unsigned, signed with the public key as a
	// secret, of an unknown user, of the future.
	sign := func(method jwt.SigningMethod, key any, c jwt.MapClaims) string {
		text, err := jwt.NewWithClaims(method, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	state := s.gate.State()
	good := jwt.MapClaims{"username": RootName, "revision": state.Revision, "exp": s.now.Add(time.Minute).Unix()}
	own := s.gate.jwt.sign
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.wants(sign(jwt.SigningMethodES256, own, good), nil)
	for name, text := range map[string]string{
		"another key": sign(jwt.SigningMethodES256, other, good),
		"none":        sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good),
		"confused":    sign(jwt.SigningMethodHS256, f["ES256.pub"], good),
		"nobody":      sign(jwt.SigningMethodES256, own, jwt.MapClaims{"username": "nobody", "revision": state.Revision}),
		"no name":     sign(jwt.SigningMethodES256, own, jwt.MapClaims{"revision": state.Revision}),
		"over":        sign(jwt.SigningMethodES256, own, jwt.MapClaims{"username": RootName, "revision": state.Revision, "exp": s.now.Unix()}),
		"garbage":     "a.b.c",
	} {
		if err := bearerErr(s, text); !errors.Is(err, BadToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := bearerErr(s, sign(jwt.SigningMethodES256, own, jwt.MapClaims{"username": RootName, "revision": state.Revision + 1})); !errors.Is(err, TokenAhead) {
		t.Errorf("a token of the future: %v", err)
	}
	if _, err := s.gate.Login(t.Context(), RootName, "wrong", func(context.Context, *Command) (Result, error) { panic("proposed") }); !errors.Is(err, BadPassword) {
		t.Errorf("login by a wrong password: %v", err)
	}
}

// TestJWTErrors checks that every error names the option and the file.
func TestJWTErrors(t *testing.T) {
	f := keyFiles(t)
	for _, c := range []struct {
		o    JWTOptions
		want string
	}{
		{JWTOptions{Method: "RS1", PrivateKey: "rsa"}, "sign-method=RS1: "},
		{JWTOptions{Method: "none", PrivateKey: "rsa"}, "sign-method=none: "},
		{JWTOptions{Method: "RS256"}, "sign-method=RS256: needs a key"},
		{JWTOptions{Method: "RS256", PrivateKey: "absent"}, "priv-key=absent: "},
		{JWTOptions{Method: "RS256", PublicKey: "absent"}, "pub-key=absent: "},
		{JWTOptions{Method: "RS256", PrivateKey: "text"}, "priv-key=text: is no private key for RS256"},
		{JWTOptions{Method: "RS256", PrivateKey: "ed"}, "priv-key=ed: is no private key for RS256"},
		{JWTOptions{Method: "ES256", PrivateKey: "rsa"}, "priv-key=rsa: is no private key for ES256"},
		{JWTOptions{Method: "ES256", PrivateKey: "ES384"}, "priv-key=ES384: cannot sign by ES256"},
		{JWTOptions{Method: "EdDSA", PrivateKey: "ES256"}, "priv-key=ES256: is no private key for EdDSA"},
		{JWTOptions{Method: "RS256", PublicKey: "text"}, "pub-key=text: is no public key for RS256"},
		{JWTOptions{Method: "RS256", PublicKey: "ES256.pub"}, "pub-key=ES256.pub: is no public key for RS256"},
		{JWTOptions{Method: "RS256", PrivateKey: "rsa", PublicKey: "other.pub"}, "pub-key=other.pub: is not the public key of priv-key=rsa"},
		{JWTOptions{Method: "HS256", PrivateKey: "empty"}, "priv-key=empty: "},
		{JWTOptions{Method: "HS256", PublicKey: "secret"}, "pub-key=secret: "},
	} {
		if _, err := NewJWT(c.o, time.Now, f.read); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
}
