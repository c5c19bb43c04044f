package grpcserver

// SetSendBytesMax limits the messages of responses.
func (s *Server) SetSendBytesMax(n int) { s.sendBytes = n }
