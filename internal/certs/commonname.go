package certs

import (
	"crypto/x509"
	"fmt"
)

// checkNoCommonName returns an error when the certificate of a file has a common name. A proxy that
// showed one to members would make it the user of all its clients. The text begins with etcd's.
func checkNoCommonName(file string, c *x509.Certificate) error {
	if name := c.Subject.CommonName; name != "" {
		return fmt.Errorf("cert has non empty Common Name (%s): %s; give one without, so that clients keep their own users", name, file)
	}
	return nil
}
