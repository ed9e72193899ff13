J
«nt±ve,yÿ